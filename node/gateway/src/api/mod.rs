//! The operations: one file each. [`dispatch`] finds the one that `X-Amz-Target` names.

use std::sync::Arc;

use crate::backend::Account;
use partita_model::error::ApiError;

/// What an operation's handler knows besides its body.
pub struct Call<'a, B> {
    /// Tables, reads and writes.
    pub backend: &'a Arc<B>,
    /// Whose tables.
    pub account: &'a Account,
    /// For ARNs.
    pub region: &'a str,
}

/// A finished JSON body.
pub type Answer = Result<Vec<u8>, ApiError>;
