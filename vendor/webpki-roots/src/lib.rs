//! In place of the crate of this name, whose list of Mozilla's authorities sqlx trusts besides those that
//! it is given. With this one it trusts none of its own: `lib/database/authorities.js` gives it Node's, or the
//! user's alone, as `pg` and libpq have it.

#![no_std]

/// None.
pub const TLS_SERVER_ROOTS: &[pki_types::TrustAnchor<'static>] = &[];
