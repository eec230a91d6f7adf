//! A database, and how to reach it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::time::{Instant, timeout};

use crate::engine::error::{ConnectionProblem, Error};
use crate::engine::postgres::errors::{READ_ONLY, ended, from_driver};
use crate::engine::postgres::parts::{Parts, PasswordSource, TargetSession, address};
use crate::engine::postgres::reactor::Reactor;
use crate::engine::postgres::session::{Opener, Session};
use crate::engine::postgres::timeouts::Timeouts;

/// The role could not be authenticated.
const INVALID_AUTHORIZATION: &str = "28000";

/// A database, and how to reach it.
pub struct Target {
    /// One for each host, which are tried in their order.
    addresses: Vec<PgConnectOptions>,
    session: TargetSession,
    password: Option<Arc<dyn PasswordSource>>,
    opener: Opener,
    timeouts: Timeouts,
}

/// What PgBouncer says when it cannot keep a transaction together.
const STATEMENT_POOLING: &str = "statement pooling mode";

impl Target {
    /// A database with these settings.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when they cannot be used; the message repeats none of them.
    pub fn new(parts: &mut Parts) -> Result<Self, Error> {
        let addresses = parts.hosts.iter().map(|host| address(host, parts));
        let timeouts = parts.timeouts;
        Ok(Self {
            opener: Opener::new(parts),
            timeouts,
            addresses: addresses.collect::<Result<_, _>>()?,
            session: parts.session,
            password: parts.password_source.take(),
        })
    }

    /// Opens a session with the first host that can be reached and will do. Each has its share of the time
    /// that connecting may take, however often it is asked.
    ///
    /// # Errors
    /// As [`from_driver`], those of the last host; whatever the server says is trouble with the
    /// connection here.
    pub async fn connect(&self) -> Result<Session, Error> {
        let mut failure = None;
        let password = self.password().await?;
        let share = self.timeouts.connect / u32::try_from(self.addresses.len()).unwrap_or(1).max(1);
        let mut shares = vec![share; self.addresses.len()];
        let passes = if self.session == TargetSession::PreferStandby { 2 } else { 1 };
        for pass in 0..passes {
            let wanted = if pass == 0 { self.session } else { TargetSession::Any };
            for (host, share) in shares.iter_mut().enumerate() {
                let begun = Instant::now();
                let opened = timeout(*share, self.open(host, password.as_deref(), wanted)).await;
                *share = share.saturating_sub(begun.elapsed());
                match opened {
                    Ok(Ok(Some(session))) => return Ok(session),
                    Ok(Ok(None)) => failure = failure.or_else(|| Some(self.wrong_state())),
                    Ok(Err(error)) => failure = Some(self.trouble(error)),
                    Err(_) => failure = Some(Error::timed_out(self, ConnectionProblem::NotOpened)),
                }
            }
        }
        Err(failure.unwrap_or_else(|| self.wrong_state()))
    }

    /// Opens a further session with one of the hosts.
    ///
    /// # Errors
    /// The driver's.
    pub async fn connect_to(&self, host: usize) -> Result<Session, sqlx::Error> {
        let password = self.password().await.map_err(|_| sqlx::Error::PoolClosed)?;
        let session = self.open(host, password.as_deref(), TargetSession::Any).await?;
        session.ok_or(sqlx::Error::PoolClosed)
    }

    async fn open(
        &self,
        host: usize,
        password: Option<&str>,
        wanted: TargetSession,
    ) -> Result<Option<Session>, sqlx::Error> {
        let address = self.addresses[host].clone();
        let address = match password {
            None => address,
            Some(password) => address.password(password),
        };
        self.opener.open(&address, host, wanted).await
    }

    async fn password(&self) -> Result<Option<String>, Error> {
        let Some(source) = &self.password else { return Ok(None) };
        let password = source.password().await;
        password.map(Some).map_err(|reason| self.no_password(&reason))
    }

    /// How long things may take.
    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Who waits for the answers, if not the runtime that the calls begin on.
    pub fn reactor(&self) -> Option<&'static dyn Reactor> {
        self.opener.reactor()
    }

    /// How long a statement may wait for a lock.
    pub fn lock_timeout(&self) -> Duration {
        self.opener.lock_timeout()
    }

    /// Whether no connection can be opened any more.
    pub fn has_ended(&self) -> bool {
        self.password.as_ref().is_some_and(|source| source.has_ended())
    }

    fn trouble(&self, error: sqlx::Error) -> Error {
        let error = match from_driver(error, self) {
            Error::Database(error) => ended(&error.code, self, &error.message),
            other => other,
        };
        match error {
            Error::Connection(error) if is_statement_pooling(&error.problem) => {
                Error::connection(&error.code, self, ConnectionProblem::StatementPooling)
            }
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

fn is_statement_pooling(problem: &ConnectionProblem) -> bool {
    matches!(problem, ConnectionProblem::Ended(reason) if reason.contains(STATEMENT_POOLING))
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
