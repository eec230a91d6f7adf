//! The settings of a connection, and what the driver makes of them.

use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::engine::error::Error;
use crate::engine::postgres::reactor::Reactor;
use crate::engine::postgres::timeouts::Timeouts;

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
    /// Whether the user says that a pooler stands before the servers.
    pub is_pooled: bool,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Who waits for the answers, if not the runtime that the calls begin on.
    pub reactor: Option<&'static dyn Reactor>,
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

impl TargetSession {
    /// Whether a server will do.
    pub fn accepts(self, in_recovery: bool, read_only: bool) -> bool {
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

/// The settings for one host. sqlx reads `~/.pgpass`, and takes the server's options as they are, from a URL
/// only.
pub fn address(host: &Host, parts: &Parts) -> Result<PgConnectOptions, Error> {
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
    // Poolers refuse what sqlx sets of itself, and the engine reads no such numbers.
    options.extra_float_digits(None).disable_statement_logging()
}
