//! A database, and how to reach it.

use std::fmt;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Row as _};

use crate::engine::error::{ConnectionProblem, Error};
use crate::engine::postgres::errors::{ended, from_driver};
use crate::engine::postgres::parts::{Parts, PasswordSource, TargetSession, address};

/// The server takes no writes.
const READ_ONLY: &str = "25006";
/// The role could not be authenticated.
const INVALID_AUTHORIZATION: &str = "28000";

/// A database, and how to reach it.
#[derive(Clone)]
pub struct Target {
    /// One for each host, which are tried in their order.
    addresses: Vec<PgConnectOptions>,
    session: TargetSession,
    password: Option<Arc<dyn PasswordSource>>,
}

/// One row: whether the server is in recovery, and whether its transactions are read-only by default.
const SERVER_STATE: &str =
    "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool";

impl Target {
    /// A database with these settings.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when they cannot be used; the message repeats none of them.
    pub fn new(parts: &mut Parts) -> Result<Self, Error> {
        let addresses = parts.hosts.iter().map(|host| address(host, parts));
        Ok(Self {
            addresses: addresses.collect::<Result<_, _>>()?,
            session: parts.session,
            password: parts.password_source.take(),
        })
    }

    /// Opens a connection to the first host that can be reached and will do.
    ///
    /// # Errors
    /// As [`from_driver`], those of the last host; whatever the server says is trouble with the
    /// connection here.
    pub async fn connect(&self) -> Result<PgConnection, Error> {
        let mut failure = None;
        let password = match &self.password {
            None => None,
            Some(source) => {
                let password = source.password().await;
                Some(password.map_err(|reason| self.no_password(&reason))?)
            }
        };
        let passes = if self.session == TargetSession::PreferStandby { 2 } else { 1 };
        for pass in 0..passes {
            let wanted = if pass == 0 { self.session } else { TargetSession::Any };
            for address in &self.addresses {
                match connect_to(address, password.as_deref(), wanted).await {
                    Ok(Some(connection)) => return Ok(connection),
                    Ok(None) => failure = failure.or(Some(self.wrong_state())),
                    Err(error) => failure = Some(self.trouble(error)),
                }
            }
        }
        Err(failure.unwrap_or_else(|| self.wrong_state()))
    }

    /// Whether no connection can be opened any more.
    pub fn has_ended(&self) -> bool {
        self.password.as_ref().is_some_and(|source| source.has_ended())
    }

    fn trouble(&self, error: sqlx::Error) -> Error {
        match from_driver(error, self) {
            Error::Database(error) => ended(&error.code, self, &error.message),
            other => other,
        }
    }

    fn no_password(&self, reason: &str) -> Error {
        let problem = ConnectionProblem::NoPassword(reason.to_owned());
        Error::connection(INVALID_AUTHORIZATION, self, problem)
    }

    fn wrong_state(&self) -> Error {
        Error::connection(READ_ONLY, self, ConnectionProblem::WrongState)
    }
}

/// Connects to one host; answers nothing if its server will not do.
async fn connect_to(
    address: &PgConnectOptions,
    password: Option<&str>,
    wanted: TargetSession,
) -> Result<Option<PgConnection>, sqlx::Error> {
    let mut connection = match password {
        None => address.connect().await?,
        Some(password) => address.clone().password(password).connect().await?,
    };
    if wanted == TargetSession::Any {
        return Ok(Some(connection));
    }
    let state = sqlx::raw_sql(SERVER_STATE).fetch_one(&mut connection).await?;
    Ok(wanted.accepts(state.try_get(0)?, state.try_get(1)?).then_some(connection))
}

/// Hosts, port and database; never the password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for address in &self.addresses {
            f.write_str(separator)?;
            match address.get_socket() {
                Some(socket) => write!(f, "{}", socket.display())?,
                None => f.write_str(address.get_host())?,
            }
            write!(f, ":{}", address.get_port())?;
            separator = ", ";
        }
        let Some(address) = self.addresses.first() else { return Ok(()) };
        let database = address.get_database().unwrap_or(address.get_username());
        write!(f, ", database \"{database}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::parts::Host;

    fn parts(host: &str, port: u16) -> Parts {
        Parts {
            hosts: vec![Host { name: host.to_owned(), port }],
            user: Some("me".to_owned()),
            password: Some("s3cret".to_owned()),
            database: Some("shop".to_owned()),
            ..Parts::default()
        }
    }

    fn target(mut parts: Parts) -> Target {
        Target::new(&mut parts).unwrap()
    }

    #[test]
    fn a_target_shows_where_it_is_but_no_password() {
        let mut several = parts("db.test", 6543);
        assert_eq!(target(several).to_string(), "db.test:6543, database \"shop\"");
        several = parts("db.test", 6543);
        several.hosts.push(Host { name: "::1".to_owned(), port: 5432 });
        assert_eq!(target(several).to_string(), "db.test:6543, ::1:5432, database \"shop\"");
    }

    #[test]
    fn a_folder_is_that_of_a_socket() {
        let target = target(parts("/run/postgresql", 6543));
        assert_eq!(target.to_string(), "/run/postgresql:6543, database \"shop\"");
        assert_eq!(target.addresses[0].get_username(), "me");
    }

    #[test]
    fn server_options_are_passed_on_as_they_are() {
        let options = "-c search_path=my-catalog -c lock_timeout=5 -c a=\\ b&c=%41";
        let given = Parts { options: Some(options.to_owned()), ..parts("db", 1) };
        assert_eq!(target(given).addresses[0].get_options(), Some(options));
    }

    #[test]
    fn a_server_has_the_state_that_is_asked_for() {
        use TargetSession::{Any, Primary, ReadOnly, ReadWrite, Standby};
        for (session, primary, standby, read_only_primary) in [
            (Any, true, true, true),
            (ReadWrite, true, false, false),
            (ReadOnly, false, true, true),
            (Primary, true, false, true),
            (Standby, false, true, false),
        ] {
            assert_eq!(session.accepts(false, false), primary, "{session:?}");
            assert_eq!(session.accepts(true, false), standby, "{session:?}");
            assert_eq!(session.accepts(false, true), read_only_primary, "{session:?}");
        }
    }
}
