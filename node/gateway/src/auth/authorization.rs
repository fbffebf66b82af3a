//! The `Authorization` header, taken apart.

use http::HeaderMap;
use partita_model::error::{ApiError, ErrorCode};

use super::time::Timestamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A complete header, and the request's time.
#[derive(Debug)]
pub(super) struct Authorization<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) signed_headers: &'a str,
    pub(super) signature: &'a str,
    pub(super) time: Timestamp,
}

/// `Credential=key/date/region/service/terminator`.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    pub(super) key_id: &'a str,
    pub(super) date: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    pub(super) terminator: &'a str,
}

impl<'a> Authorization<'a> {
    /// Reads the header; all that is missing is named in one error, as AWS does.
    pub(super) fn parse(header: &'a [u8], headers: &HeaderMap) -> Result<Self, ApiError> {
        let text =
            std::str::from_utf8(header).map_err(|_| incomplete("Authorization header is not valid UTF-8.".into()))?;
        let (algorithm, parameters) = text.split_once(' ').unwrap_or((text, ""));
        if algorithm != ALGORITHM {
            return Err(incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'.")));
        }
        let (mut credential, mut signature, mut signed_headers) = (None, None, None);
        // Commas and spaces both end a pair, so a key with a space in it is told apart.
        let pairs = parameters.split(|end: char| end == ',' || end.is_ascii_whitespace());
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(incomplete(format!(
                    "'{pair}' not a valid key=value pair (missing equal-sign) in Authorization header: '{text}'."
                )));
            };
            match name {
                "Credential" => credential = Some(value),
                "Signature" => signature = Some(value),
                "SignedHeaders" => signed_headers = Some(value),
                _ => {}
            }
        }
        let date = headers
            .get("x-amz-date")
            .or_else(|| headers.get(http::header::DATE))
            .and_then(|value| value.to_str().ok());

        let present = |value: Option<&'a str>| value.filter(|value| !value.is_empty());
        let (Some(credential), Some(signature), Some(signed_headers), Some(date)) =
            (present(credential), present(signature), present(signed_headers), date)
        else {
            let missing = [
                (
                    "Authorization header requires 'Credential' parameter.",
                    present(credential).is_none(),
                ),
                (
                    "Authorization header requires 'Signature' parameter.",
                    present(signature).is_none(),
                ),
                (
                    "Authorization header requires 'SignedHeaders' parameter.",
                    present(signed_headers).is_none(),
                ),
                (
                    "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
                    date.is_none(),
                ),
            ];
            let mut message = String::new();
            for (sentence, _) in missing.iter().filter(|(_, missing)| *missing) {
                message.push_str(sentence);
                message.push(' ');
            }
            return Err(incomplete(format!("{message}Authorization={text}")));
        };
        let time = Timestamp::parse(date)
            .or_else(|| Timestamp::parse_http(date))
            .ok_or_else(|| {
                incomplete(format!(
                    "Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601"
                ))
            })?;
        Ok(Self {
            scope: Scope::parse(credential)?,
            signed_headers,
            signature,
            time,
        })
    }
}

impl<'a> Scope<'a> {
    fn parse(credential: &'a str) -> Result<Self, ApiError> {
        let mut parts = credential.split('/');
        let fields = [(); 5].map(|()| parts.next());
        let ([Some(key_id), Some(date), Some(region), Some(service), Some(terminator)], None) = (fields, parts.next())
        else {
            return Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
                 '{credential}'"
            )));
        };
        Ok(Self {
            key_id,
            date,
            region,
            service,
            terminator,
        })
    }
}

fn incomplete(message: String) -> ApiError {
    ApiError::new(ErrorCode::IncompleteSignature, message)
}
