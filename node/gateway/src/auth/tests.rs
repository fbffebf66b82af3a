use http::Request;

use super::*;

/// The key pair of AWS's own examples.
const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// 2015-08-30T12:36:00Z
const NOW: i64 = 1_440_938_160;
const BODY: &[u8] = b"{\"TableName\": \"pets\", \"Key\": {\"id\": {\"S\": \"\xc3\xa9\"}}}";
/// What botocore 1.43 sends for `BODY` at `NOW`.
const SIGNED_BY_BOTOCORE: &str = "AWS4-HMAC-SHA256 \
     Credential=AKIDEXAMPLE/20150830/us-east-1/dynamodb/aws4_request, \
     SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
     Signature=138ed801203c6edb26be49b0cd96dd6aa780d95662259ad9d59d40a05dfd432b";

struct OneKey(Arc<AccessKey>);

impl Credentials for OneKey {
    fn find(&self, id: &str) -> Option<Arc<AccessKey>> {
        (id == KEY_ID).then(|| self.0.clone())
    }
}

fn account() -> Account {
    Account::new("123456789012")
}

fn keys() -> Auth {
    Auth::Keys(Arc::new(OneKey(Arc::new(AccessKey::new(
        SECRET.into(),
        account(),
        Permission::Data,
    )))))
}

fn request(authorization: Option<&str>, more: &[(&str, &str)]) -> Parts {
    let mut request = Request::post("/")
        .header("Host", "localhost:8000")
        .header("X-Amz-Target", "DynamoDB_20120810.GetItem")
        .header("Content-Type", "application/x-amz-json-1.0");
    if !more.iter().any(|(name, _)| *name == "X-Amz-Date") {
        request = request.header("X-Amz-Date", "20150830T123600Z");
    }
    if let Some(authorization) = authorization {
        request = request.header("Authorization", authorization);
    }
    for (name, value) in more.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn refused(auth: &Auth, head: &Parts, body: &[u8], now: i64) -> (ErrorCode, String) {
    let error = auth.identify(head, body, "us-east-1", now).unwrap_err();
    (error.code, error.message.into_owned())
}

#[test]
fn what_botocore_signs_is_accepted() {
    let auth = keys();
    let head = request(Some(SIGNED_BY_BOTOCORE), &[]);
    // Twice: the second time with the derived key from the cache.
    for now in [NOW, NOW + 14 * 60] {
        let identity = auth.identify(&head, BODY, "us-east-1", now).unwrap();
        assert_eq!((identity.account, identity.permission), (account(), Permission::Data));
    }
}

#[test]
fn anything_changed_is_refused() {
    let auth = keys();
    let head = request(Some(SIGNED_BY_BOTOCORE), &[]);
    let wrong = (ErrorCode::InvalidSignature, WRONG_SIGNATURE.to_owned());
    assert_eq!(refused(&auth, &head, b"{}", NOW), wrong);
    let mut other = request(Some(SIGNED_BY_BOTOCORE), &[]);
    other
        .headers
        .insert("x-amz-target", "DynamoDB_20120810.PutItem".parse().unwrap());
    assert_eq!(refused(&auth, &other, BODY, NOW), wrong);
    let mut missing = request(Some(SIGNED_BY_BOTOCORE), &[]);
    missing.headers.remove("x-amz-target");
    assert_eq!(refused(&auth, &missing, BODY, NOW), wrong);
    let cut = &SIGNED_BY_BOTOCORE[..SIGNED_BY_BOTOCORE.len() - 1];
    assert_eq!(refused(&auth, &request(Some(cut), &[]), BODY, NOW), wrong);
    let hash = request(Some(SIGNED_BY_BOTOCORE), &[("X-Amz-Content-Sha256", "00")]);
    assert_eq!(refused(&auth, &hash, BODY, NOW), wrong);
}

#[test]
fn times_may_be_fifteen_minutes_off() {
    let auth = keys();
    let head = request(Some(SIGNED_BY_BOTOCORE), &[]);
    assert_eq!(
        refused(&auth, &head, BODY, NOW + 901),
        (
            ErrorCode::InvalidSignature,
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)"
                .into()
        )
    );
    assert_eq!(
        refused(&auth, &head, BODY, NOW - 901),
        (
            ErrorCode::InvalidSignature,
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T122059Z + 15 \
             min.)"
                .into()
        )
    );
}

#[test]
fn what_is_missing_is_named() {
    for auth in [keys(), Auth::Open(account())] {
        let missing = (
            ErrorCode::MissingAuthenticationToken,
            "Request is missing Authentication Token".to_owned(),
        );
        assert_eq!(refused(&auth, &request(None, &[]), BODY, NOW), missing);
        assert_eq!(refused(&auth, &request(Some("Basic abc"), &[]), BODY, NOW), missing);
        assert_eq!(
            refused(
                &auth,
                &request(Some("AWS4-HMAC-SHA256"), &[("X-Amz-Date", "")]),
                BODY,
                NOW
            ),
            (
                ErrorCode::IncompleteSignature,
                "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' \
                 parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires \
                 existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256"
                    .into()
            )
        );
        let (code, message) = refused(&auth, &request(Some("AWS4-HMAC-SHA256 Credential"), &[]), BODY, NOW);
        assert_eq!(code, ErrorCode::IncompleteSignature);
        assert!(
            message.starts_with("'Credential' not a valid key=value pair (missing equal-sign)"),
            "{message}"
        );
        let spaced = "AWS4-HMAC-SHA256 Credential=a /b, SignedHeaders=host, Signature=c";
        let (_, message) = refused(&auth, &request(Some(spaced), &[]), BODY, NOW);
        assert!(
            message.starts_with("'/b' not a valid key=value pair (missing equal-sign)"),
            "{message}"
        );
        let short = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c";
        let (_, message) = refused(&auth, &request(Some(short), &[]), BODY, NOW);
        assert!(
            message.starts_with("Credential must have exactly 5 slash-delimited elements"),
            "{message}"
        );
    }
}

#[test]
fn unknown_keys_session_tokens_and_other_scopes_are_refused() {
    let auth = keys();
    let other = SIGNED_BY_BOTOCORE.replace("AKIDEXAMPLE", "AKIDOTHER");
    assert_eq!(
        refused(&auth, &request(Some(&other), &[]), BODY, NOW),
        (
            ErrorCode::UnrecognizedClient,
            "The security token included in the request is invalid.".into()
        )
    );
    let token = request(Some(SIGNED_BY_BOTOCORE), &[("X-Amz-Security-Token", "t")]);
    assert_eq!(refused(&auth, &token, BODY, NOW).0, ErrorCode::UnrecognizedClient);
    let other = SIGNED_BY_BOTOCORE.replace("us-east-1", "eu-west-1");
    assert_eq!(
        refused(&auth, &request(Some(&other), &[]), BODY, NOW).1,
        "Credential should be scoped to a valid region, not 'eu-west-1'."
    );
    let other = SIGNED_BY_BOTOCORE.replace("/dynamodb/", "/s3/");
    assert_eq!(
        refused(&auth, &request(Some(&other), &[]), BODY, NOW).1,
        "Credential should be scoped to correct service: 'dynamodb'."
    );
}

#[test]
fn without_credentials_any_signature_will_do() {
    let auth = Auth::Open(account());
    let nonsense = "AWS4-HMAC-SHA256 Credential=x/20000101/mars/s3/aws4_request, SignedHeaders=host, Signature=0";
    let head = request(Some(nonsense), &[("X-Amz-Security-Token", "t")]);
    let identity = auth.identify(&head, b"", "us-east-1", NOW).unwrap();
    assert_eq!(identity.permission, Permission::Tables);
}

/// `get-vanilla` and `get-vanilla-query-order-key-case` of AWS's published test suite: the hashes of their canonical
/// requests.
#[test]
fn canonical_requests_are_as_in_awss_test_suite() {
    let vectors = [
        ("/", "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63"),
        (
            "/?Param2=value2&Param1=value1",
            "816cd5b414d056048ba4f7c5386d6e0533120fb1fcfa93762cf0fc39e2cf19e0",
        ),
    ];
    for (uri, hash) in vectors {
        let head = Request::get(uri)
            .header("Host", " example.amazonaws.com ")
            .header("X-Amz-Date", "20150830T123600Z")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        let payload = canonical::payload_hash(&head.headers, b"").unwrap();
        let computed = canonical::request_hash(&head, "host;x-amz-date", &payload).unwrap();
        assert_eq!(std::str::from_utf8(&computed).unwrap(), hash);
    }
}

#[test]
fn hostile_headers_are_refused_without_a_panic() {
    let auth = keys();
    for header in [
        "AWS4-",
        "AWS4-HMAC-SHA256 =,=,=",
        "AWS4-HMAC-SHA256 Credential=////,SignedHeaders=;;,Signature==",
    ] {
        refused(&auth, &request(Some(header), &[]), BODY, NOW);
    }
    let long = format!("AWS4-HMAC-SHA256 {}", "Credential=a/,".repeat(4000));
    refused(&auth, &request(Some(&long), &[]), BODY, NOW);
}
