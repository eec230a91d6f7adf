//! Statements for requests, of which each optional column has its own.

use std::sync::Arc;

use crate::engine::key::Text;
use crate::engine::protocol::statement::{OptionalColumns, Request};

/// A statement for requests without and with the headers of their answers, and each of them without and with the
/// column for fingerprints.
pub type OfRequests = [[Arc<str>; 2]; 2];

/// Writes the statement with and without each of the optional columns.
pub fn of_requests(text: impl Fn(OptionalColumns) -> Arc<str>) -> OfRequests {
    [false, true].map(|headers| {
        [false, true].map(|fingerprint| text(OptionalColumns { fingerprint, headers }))
    })
}

/// Chooses the statement by the optional columns that the request uses; and its parameters.
pub fn of_request<const N: usize>(
    texts: &OfRequests,
    key: String,
    request: Request,
    others: [String; N],
) -> (&Arc<str>, Vec<Text>) {
    let OptionalColumns { fingerprint, headers } = request.optional_columns();
    let text = &texts[usize::from(headers)][usize::from(fingerprint)];
    let Request { method, path, params, fingerprint, .. } = request;
    let mut parameters = vec![Some(key), method, path, params];
    parameters.extend(others.into_iter().chain(fingerprint).map(Some));
    (text, parameters)
}
