//! What the engine is told at construction.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::error::Error;

/// How long a statement waits for a row lock before it answers that the key is in use. A callback
/// that changes its own key outside of its transaction would otherwise wait for itself for ever.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// A database, and how to reach it.
#[derive(Clone, Debug)]
pub struct Target {
    options: PgConnectOptions,
}

impl Target {
    /// Reads a `postgres://` URL. What the URL does not say comes from the `PG*` environment
    /// variables and `~/.pgpass`, as for every PostgreSQL client.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is no such URL; the message never repeats it, since it may
    /// hold a password.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("postgres" | "postgresql")) {
            return Err(Error::InvalidArgument(
                "databaseUrl has to be a URL like postgres://user:password@host:5432/database"
                    .to_owned(),
            ));
        }
        let options = PgConnectOptions::from_str(url).map_err(|error| {
            Error::InvalidArgument(format!("databaseUrl is not a usable URL: {error}"))
        })?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name(env!("CARGO_PKG_NAME")),
        };
        let options = match options.get_options() {
            Some(given) if given.contains("lock_timeout") => options,
            _ => options.options([("lock_timeout", LOCK_TIMEOUT.as_millis().to_string())]),
        };
        Ok(Self { options: options.disable_statement_logging() })
    }

    /// The connection options, for sqlx.
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }
}

/// Host, port and database; never the password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        match options.get_socket() {
            Some(socket) => write!(f, "{}", socket.display())?,
            None => f.write_str(options.get_host())?,
        }
        let database = options.get_database().unwrap_or(options.get_username());
        write!(f, ":{}, database \"{database}\"", options.get_port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_shows_where_it_is_but_no_password() {
        let target = Target::from_url("postgres://me:s3cret@db.test:6543/shop").unwrap();
        assert_eq!(target.to_string(), "db.test:6543, database \"shop\"");
    }

    #[test]
    fn what_is_no_url_is_refused_without_repeating_it() {
        for url in ["", "s3cret", "mysql://me:s3cret@db/shop", "postgres://me:s3cret@[/x"] {
            let error = Target::from_url(url).unwrap_err();
            assert_eq!(error.medusa_type(), Some("invalid_argument"), "{url}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
