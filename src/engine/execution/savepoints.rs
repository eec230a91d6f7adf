//! The savepoints of a transaction's scopes.

use crate::engine::error::Error;
use crate::engine::postgres::connection::Connection;

/// Sets the savepoint of a scope.
pub fn savepoint(scope: usize) -> String {
    format!("SAVEPOINT scope_{scope}")
}

/// Gives it up, and keeps its effects.
pub fn release(scope: usize) -> String {
    format!("RELEASE {}", savepoint(scope))
}

/// Gives it up, and undoes its effects.
///
/// # Errors
/// As [`Connection::control`].
pub async fn undo(connection: &mut Connection, scope: usize) -> Result<(), Error> {
    let deallocate = connection.deallocate();
    let undo = format!("ROLLBACK TO {}; {}{deallocate}", savepoint(scope), release(scope));
    connection.control(&undo).await
}
