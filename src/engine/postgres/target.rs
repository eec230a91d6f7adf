//! A database, and how to reach it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Row as _};

use crate::engine::error::Error;

/// How long a statement waits for a row lock before it answers that the key is in use. A callback
/// that changes its own key outside of its transaction would otherwise wait for itself for ever.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Where the password comes from when it may change from connection to connection.
pub trait PasswordSource: Send + Sync {
    /// The password of the connection that is about to be opened.
    ///
    /// # Errors
    /// When there is none to be had; the text says why.
    fn password(&self) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>>;

    /// Whether it will never answer again.
    fn has_ended(&self) -> bool;
}

/// The settings of a connection. What is missing comes from the `PG*` environment variables and
/// `~/.pgpass`, as for every PostgreSQL client.
#[derive(Default)]
pub struct Parts {
    /// The servers, in the order in which they are tried; one at least.
    pub hosts: Vec<Host>,
    /// Which of them will do.
    pub session: TargetSession,
    /// Role.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// Its password, asked for at each connection.
    pub password_source: Option<Arc<dyn PasswordSource>>,
    /// Database.
    pub database: Option<String>,
    /// What the server is told at the start, such as `-c search_path=shop`.
    pub options: Option<String>,
    /// What the server calls the connection.
    pub application_name: Option<String>,
    /// How the connection is encrypted; `None`: not at all.
    pub tls: Option<Tls>,
}

/// Where a server is.
#[derive(Clone, Debug)]
pub struct Host {
    /// Host name or address, or folder of the server's socket if it begins with a slash.
    pub name: String,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
}

/// Which of several servers will do: libpq's `target_session_attrs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetSession {
    /// Any.
    #[default]
    Any,
    /// One whose transactions may write by default.
    ReadWrite,
    /// One whose transactions may not.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is.
    Standby,
    /// One that is in recovery if there is one, else any.
    PreferStandby,
}

/// How a connection is encrypted.
pub struct Tls {
    /// How far the server is verified.
    pub verify: Verify,
    /// The authorities that may vouch for it, as PEM.
    pub ca: Option<String>,
    /// The client's certificate, as PEM.
    pub cert: Option<String>,
    /// The client's key, as PEM.
    pub key: Option<String>,
}

/// What a server has to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Nothing.
    Nothing,
    /// That an authority vouches for it, whatever its name is.
    Authority,
    /// That an authority vouches for it as the host that is connected to.
    Host,
}

/// One row: whether the server is in recovery, and whether its transactions are read-only by default.
const SERVER_STATE: &str =
    "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool";

impl TargetSession {
    /// Whether a server will do.
    fn accepts(self, in_recovery: bool, read_only: bool) -> bool {
        match self {
            Self::Any => true,
            Self::ReadWrite => !in_recovery && !read_only,
            Self::ReadOnly => in_recovery || read_only,
            Self::Primary => !in_recovery,
            Self::Standby | Self::PreferStandby => in_recovery,
        }
    }
}

impl FromStr for TargetSession {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "any" => Ok(Self::Any),
            "read-write" => Ok(Self::ReadWrite),
            "read-only" => Ok(Self::ReadOnly),
            "primary" => Ok(Self::Primary),
            "standby" => Ok(Self::Standby),
            "prefer-standby" => Ok(Self::PreferStandby),
            _ => Err(Error::InvalidArgument("there is no such target_session_attrs".to_owned())),
        }
    }
}

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
    /// As [`Error::from_sqlx`], those of the last host; whatever the server says is trouble with the
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
        match Error::from_sqlx(error, self) {
            Error::Database(error) => Error::Connection {
                message: format!("PostgreSQL at {self}: {}", error.message),
                code: error.code,
            },
            other => other,
        }
    }

    fn no_password(&self, reason: &str) -> Error {
        Error::Connection {
            code: INVALID_AUTHORIZATION.to_owned(),
            message: format!("the password function for PostgreSQL at {self} failed: {reason}"),
        }
    }

    fn wrong_state(&self) -> Error {
        Error::Connection {
            code: READ_ONLY.to_owned(),
            message: format!("no server at {self} is what target_session_attrs asks for"),
        }
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

/// The settings for one host. sqlx reads `~/.pgpass`, and takes the server's options as they are, from a URL
/// only.
fn address(host: &Host, parts: &Parts) -> Result<PgConnectOptions, Error> {
    let port = host.port.to_string();
    let given = [
        ("host", Some(host.name.as_str())),
        ("port", Some(port.as_str())),
        ("user", parts.user.as_deref()),
        ("password", parts.password.as_deref()),
        ("dbname", parts.database.as_deref()),
        ("options", parts.options.as_deref()),
        ("application_name", parts.application_name.as_deref()),
    ];
    let query: Vec<String> = given
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", percent_encoded(value?))))
        .collect();
    let options = PgConnectOptions::from_str(&format!("postgres://?{}", query.join("&")));
    // Its message may repeat what it is about.
    let options = options.map_err(|_| {
        Error::InvalidArgument("the settings of the connection cannot be used".to_owned())
    })?;
    Ok(with_defaults(encrypted(options, parts.tls.as_ref())))
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn encrypted(options: PgConnectOptions, tls: Option<&Tls>) -> PgConnectOptions {
    let Some(Tls { verify, ca, cert, key }) = tls else {
        return options.ssl_mode(PgSslMode::Disable);
    };
    let mode = match verify {
        Verify::Nothing => PgSslMode::Require,
        Verify::Authority => PgSslMode::VerifyCa,
        Verify::Host => PgSslMode::VerifyFull,
    };
    let mut options = options.ssl_mode(mode);
    if let Some(ca) = ca {
        options = options.ssl_root_cert_from_pem(ca.clone().into_bytes());
    }
    if let Some(cert) = cert {
        options = options.ssl_client_cert_from_pem(cert);
    }
    if let Some(key) = key {
        options = options.ssl_client_key_from_pem(key);
    }
    options
}

fn with_defaults(options: PgConnectOptions) -> PgConnectOptions {
    let options = match options.get_application_name() {
        Some(_) => options,
        None => options.application_name(env!("CARGO_PKG_NAME")),
    };
    let options = match options.get_options() {
        Some(given) if given.contains("lock_timeout") => options,
        _ => options.options([("lock_timeout", LOCK_TIMEOUT.as_millis().to_string())]),
    };
    options.disable_statement_logging()
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
