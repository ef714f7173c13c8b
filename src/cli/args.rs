//! What can be typed.

use crate::config::spec::{Access, Paths, StartTls};
use crate::probe::target::Place;
use crate::report::Threshold;
use crate::types::{CertName, GenId, Identifier, IssuerName, KeyId, NodeName, Timestamp, Vantage};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What every command takes.
const EVERYWHERE: &str = "Options of every command";
/// What exit codes mean, the usual ones first.
const EXITS: &str = "Exit codes: 0 live, or nothing due; 10 changed (--detailed-exitcode); 20 not live everywhere yet; \
    21 a limit, the wait is stored; 75 temporary; 1 a person is needed; 11 failed while a certificate is in danger; \
    64 usage, 65 data, 70 internal, 77 permission, 78 configuration";

/// Keeps TLS certificates alive: renewed is when every endpoint serves it.
#[derive(Debug, Parser)]
#[command(name = "everleaf", version, disable_help_subcommand = true, max_term_width = 100, after_help = EXITS)]
pub(super) struct Everleaf {
    /// The configuration [default: `EVERLEAF_CONFIG`, or /etc/everleaf/everleaf.yaml]
    #[arg(long, global = true, value_name = "FILE", help_heading = EVERYWHERE)]
    pub(super) config: Option<PathBuf>,
    /// Say more; twice: what is said to the CA
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = EVERYWHERE)]
    pub(super) verbose: u8,
    /// Say nothing but failures
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = EVERYWHERE)]
    pub(super) quiet: bool,
    /// Data as JSON
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(super) json: bool,
    /// How to log
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", help_heading = EVERYWHERE)]
    pub(super) log_format: LogFormat,
    /// Colours; `NO_COLOR` is honoured
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = EVERYWHERE)]
    pub(super) color: Colour,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    Auto,
    Always,
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// One pass over everything: what cron and the timer call
    Run(Run),
    /// Stays, and does what `run` does when it is due; for systemd (Type=notify) or any supervisor
    Daemon,
    /// Renew what is due; with --force, although nothing is
    Renew(Renew),
    /// Publish, reload and prove again what is there; no CA
    Deploy(Deploy),
    /// Go back to an earlier certificate
    Rollback(Rollback),
    /// Remove what is left of a certificate that is no longer configured
    Forget(Forget),
    /// How every certificate stands
    Status(Names),
    /// The story of one certificate: what stands, what is next, what is in the way
    Why(Why),
    /// What a run would do now
    Plan(Names),
    /// One line for Nagios and its descendants; exits 0, 1, 2 or 3
    Check(Check),
    /// What clients would say of endpoints: names the fault, where, and what to check; exits 0, 1, 2 or 3
    Probe(Box<Probe>),
    /// What clients would say of certificate files: names the fault and where to look; exits 0, 1, 2 or 3
    Verify(Verify),
    /// On a node: publish what another everleaf sends on standard input; answers a line of JSON
    Receive(Box<Receive>),
    /// Check the configuration
    Config(Config),
    /// Show or register ACME accounts
    Account(Account),
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Sleep up to this long first, so that a fleet does not start as one
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) splay: Option<Duration>,
    /// Exit 10 when something changed
    #[arg(long)]
    pub(super) detailed_exitcode: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["names", "all"])))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that can be typed, and clap fills them in")]
pub(super) struct Renew {
    /// Which certificates
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
    /// All of them
    #[arg(long)]
    pub(super) all: bool,
    /// Order now, although nothing is due
    #[arg(long)]
    pub(super) force: bool,
    /// Order now, with a new key although `reuse_key` is set; discards what is issued and not yet deployed
    #[arg(long)]
    pub(super) new_key: bool,
    /// Rehearse against the issuer's `dry_run` directory; publishes nothing
    #[arg(long, conflicts_with_all = ["force", "new_key", "no_wait"])]
    pub(super) dry_run: bool,
    /// Order although a good certificate is issued and not yet live
    #[arg(long)]
    pub(super) yes: bool,
    /// Do not wait for another everleaf that is at work; exit 75
    #[arg(long)]
    pub(super) no_wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Deploy {
    /// Which certificate
    pub(super) name: String,
    /// Only to this node, or to those of a group
    #[arg(long, value_name = "NODE|GROUP")]
    pub(super) to: Option<NodeName>,
    /// Do not wait for another everleaf that is at work; exit 75
    #[arg(long)]
    pub(super) no_wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// Which certificate
    pub(super) name: String,
    /// To this generation; without it, to the one before
    #[arg(long, value_name = "GENERATION")]
    pub(super) to: Option<GenId>,
    /// Only on this node, or on those of a group
    #[arg(long, value_name = "NODE|GROUP")]
    pub(super) node: Option<NodeName>,
    /// Do not wait for another everleaf that is at work; exit 75
    #[arg(long)]
    pub(super) no_wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Forget {
    /// Which certificate
    pub(super) name: String,
    /// Without asking
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Names {
    /// Only these certificates
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Why {
    /// Which certificate
    pub(super) name: String,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Warn when less life is left: 20% or 14d
    #[arg(long, value_name = "LEFT", default_value = "25%")]
    pub(super) warning: Threshold,
    /// Alarm when less life is left
    #[arg(long, value_name = "LEFT", default_value = "10%")]
    pub(super) critical: Threshold,
}

/// Connects to every address as a strict client would, and judges what it sees without fetching or remembering anything.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 ok, 1 warnings, 2 some ordinary client fails, 3 could not judge, 64 usage")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that can be typed, and clap fills them in")]
pub(super) struct Probe {
    /// HOST, HOST:PORT, IP, IP:PORT or [IPv6]:PORT; all A and AAAA are looked at
    #[arg(value_name = "TARGET", required_unless_present_any = ["from_file", "all", "relayed"])]
    pub(super) targets: Vec<Place>,
    /// Read targets from a file, one a line; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(super) from_file: Option<PathBuf>,
    /// Look at every endpoint of the configuration; this machine's also against its live directories
    #[arg(long, conflicts_with = "published")]
    pub(super) all: bool,
    /// Connect to this address instead of what DNS says; may be repeated
    #[arg(long, value_name = "IP[:PORT]")]
    pub(super) connect: Vec<Place>,
    /// Ask for this name instead of the host; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) sni: Vec<Identifier>,
    /// Send no name; the certificate must still be for the host
    #[arg(long, conflicts_with = "sni")]
    pub(super) no_sni: bool,
    /// What comes before TLS: smtp, imap, pop3, postgres, mysql or ldap
    #[arg(long, value_name = "KIND", value_parser = starttls)]
    pub(super) starttls: Option<StartTls>,
    /// A PEM file of trusted roots, `system` or `mozilla`; each one is judged by itself [default: system]
    #[arg(long = "ca", value_name = "FILE")]
    pub(super) stores: Vec<PathBuf>,
    /// A public key of which the chain must hold one; may be repeated
    #[arg(long = "pin", value_name = "sha256/BASE64", value_parser = pin)]
    pub(super) pins: Vec<KeyId>,
    /// Where what redirects to HTTPS listens [default: 80, where the target's port is 443]
    #[arg(long, value_name = "PORT")]
    pub(super) http_port: Option<u16>,
    /// Hold what is served against this live directory
    #[arg(long, value_name = "DIR", group = "published")]
    pub(super) live: Option<PathBuf>,
    /// Hold what is served against this chain
    #[arg(long, value_name = "FILE", groups = ["published", "certified"], conflicts_with = "live")]
    pub(super) fullchain: Option<PathBuf>,
    /// Offer this client certificate where one is asked for: PEM, the intermediates behind it
    #[arg(long, value_name = "FILE", group = "certified", requires = "key", conflicts_with_all = ["quick", "via"])]
    pub(super) cert: Option<PathBuf>,
    /// The key of --cert, or of --fullchain; not encrypted
    #[arg(long, value_name = "FILE", requires = "certified")]
    pub(super) key: Option<PathBuf>,
    /// Who must be able to read the key; nginx and HAProxy read it as root
    #[arg(long, value_name = "USER", requires = "published")]
    pub(super) user: Option<String>,
    /// What `nginx -T` printed, `-` for standard input: does it load the published files?
    #[arg(long, value_name = "FILE", requires = "published")]
    pub(super) nginx: Option<PathBuf>,
    /// HAProxy's socket or configuration: does it load the published files?
    #[arg(long, value_name = "SOCKET|FILE", requires = "published")]
    pub(super) haproxy: Option<PathBuf>,
    /// Look from another machine, through ssh; everleaf must be there too, and a file that --ca names travels along. `here` is this
    /// machine; may be repeated
    #[arg(long, value_name = "ssh://[USER@]HOST[:PORT]", conflicts_with_all = ["published", "nginx", "haproxy"])]
    pub(super) via: Vec<Vantage>,
    /// How long another machine may take to answer [default: 90s, and 100ms more for each further target]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "via")]
    pub(super) via_limit: Option<Duration>,
    /// Answer what another everleaf asks on standard input
    #[arg(long, hide = true, conflicts_with_all = ["targets", "from_file", "all", "via", "published", "nagios"])]
    pub(super) relayed: bool,
    /// One handshake an address and nothing more
    #[arg(long)]
    pub(super) quick: bool,
    /// Fetch the CRLs that the certificates point to, and look whether they are revoked
    #[arg(long)]
    pub(super) crl: bool,
    /// One line for Nagios and its descendants
    #[arg(long, conflicts_with = "json")]
    pub(super) nagios: bool,
    /// Ask this resolver; may be repeated [default: `resolvers:` of the configuration, or the system's]
    #[arg(long, value_name = "IP[:PORT]", value_parser = resolver)]
    pub(super) resolver: Vec<SocketAddr>,
}

/// What comes before TLS.
fn starttls(text: &str) -> Result<StartTls, String> {
    let found = StartTls::WORDS.iter().find(|(word, _)| *word == text).map(|(_, kind)| *kind);
    found.ok_or_else(|| format!("known are {}", StartTls::WORDS.map(|(word, _)| word).join(", ")))
}

/// A DNS server, at the usual port where none is named.
fn resolver(text: &str) -> Result<SocketAddr, String> {
    const DNS: u16 = 53;
    match text.parse::<Place>() {
        Ok(Place { host: Identifier::Ip(address), port }) => Ok(SocketAddr::new(address, port.unwrap_or(DNS))),
        _ => Err("a resolver is an address: 192.0.2.53 or 192.0.2.53:53".to_owned()),
    }
}

/// Judges files as clients would judge a server that presents them: without fetching or remembering anything.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 ok, 1 warnings, 2 some ordinary client fails, 3 could not judge, 64 usage")]
pub(super) struct Verify {
    /// A leaf, a chain, a key, a bundle (PEM or DER, in any order), or a live directory
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
    /// A name or address it must be good for; may be repeated
    #[arg(long = "name", value_name = "HOST")]
    pub(super) names: Vec<Identifier>,
    /// A PEM file of trusted roots, `system` or `mozilla`; each one is judged by itself [default: system]
    #[arg(long = "ca", value_name = "FILE")]
    pub(super) stores: Vec<PathBuf>,
    /// What it must be good for: a server's certificate, or a client's, which a server with this --ca verifies
    #[arg(long = "use", value_name = "USE", default_value = "server")]
    pub(super) usage: Use,
    /// A public key of which the chain must hold one; may be repeated
    #[arg(long = "pin", value_name = "sha256/BASE64", value_parser = pin)]
    pub(super) pins: Vec<KeyId>,
    /// Judge as of this time: 2027-01-31 or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) at: Option<Timestamp>,
}

/// What a certificate must be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Use {
    Server,
    Client,
}

/// A pin as HPKP and curl write it: `sha256/` or `sha256//` and the base64 of the key's digest.
fn pin(text: &str) -> Result<KeyId, String> {
    let digest = text.strip_prefix("sha256/").map(|rest| rest.trim_start_matches('/')).and_then(|base64| {
        data_encoding::BASE64.decode(base64.as_bytes()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
    });
    digest.map(KeyId::from_bytes).ok_or_else(|| "a pin is sha256/ and 44 characters of base64".to_owned())
}

/// An instant, or the beginning of a day.
fn time(text: &str) -> Result<Timestamp, String> {
    let day = || format!("{text}T00:00:00Z").parse();
    text.parse().or_else(|_| day()).map_err(|_| "it is neither a date (2027-01-31) nor an RFC 3339 time".to_owned())
}

/// What decides is said here and never by the sender.
const FORCED: &str = "Another everleaf, whose configuration has this machine as a node with `receive: true`, calls it through ssh. Its key \
    may be bound to it in authorized_keys, and whatever decides is then said here:\n  \
    restrict,command=\"everleaf receive --only shop --reload-unit nginx\" ssh-ed25519 AAAA…";

/// Publishes, checks and reloads what another everleaf sends, after judging it anew.
#[derive(Debug, Args)]
#[command(after_help = FORCED)]
pub(super) struct Receive {
    /// The certificates that may be published, with commas between them [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(super) only: Option<Vec<CertName>>,
    /// Where live directories are
    #[arg(long, value_name = "DIR", default_value_os_t = Paths::default().live, value_parser = absolute)]
    pub(super) live: PathBuf,
    /// Whom published files belong to
    #[arg(long, value_name = "USER")]
    pub(super) owner: Option<String>,
    /// Their group, which may read the key
    #[arg(long, value_name = "GROUP")]
    pub(super) group: Option<String>,
    /// The mode of files with a key [default: 0600; 0640 with --group]
    #[arg(long, value_name = "MODE", value_parser = |text: &str| mode(text, Access::KEY_MODES))]
    pub(super) key_mode: Option<u32>,
    /// The mode of files without a key [default: 0644]
    #[arg(long, value_name = "MODE", value_parser = |text: &str| mode(text, Access::CERT_MODES))]
    pub(super) cert_mode: Option<u32>,
    /// The mode of directories [default: 0755]
    #[arg(long, value_name = "MODE", value_parser = |text: &str| mode(text, Access::DIR_MODES))]
    pub(super) dir_mode: Option<u32>,
    /// Asked before a reload, such as 'nginx -t'; when it fails nothing is reloaded
    #[arg(long, value_name = "COMMAND")]
    pub(super) check: Option<String>,
    /// What makes servers read their files, such as 'nginx -s reload'
    #[arg(long, value_name = "COMMAND", group = "reloads")]
    pub(super) reload: Option<String>,
    /// The systemd unit to reload, its job's result awaited
    #[arg(long, value_name = "UNIT", group = "reloads")]
    pub(super) reload_unit: Option<String>,
    /// The socket of a HAProxy that is given what was published: no reload
    #[arg(long, value_name = "SOCKET", group = "reloads")]
    pub(super) haproxy: Option<PathBuf>,
    /// The crt-list that HAProxy's new certificates are added to
    #[arg(long, value_name = "FILE", requires = "haproxy")]
    pub(super) crt_list: Option<PathBuf>,
    /// How long the check, and then the reload, may take
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    pub(super) limit: Duration,
    /// Where to look what is served after a reload; may be repeated
    #[arg(long, value_name = "IP:PORT")]
    pub(super) probe: Vec<SocketAddr>,
    /// What chains must lead to: a PEM file of roots, or `system` [default: the sender has judged that]
    #[arg(long, value_name = "FILE")]
    pub(super) roots: Option<PathBuf>,
}

/// An octal mode with no more bits than `allowed`, as the configuration takes it.
fn mode(text: &str, allowed: u32) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| mode & !allowed == 0);
    mode.ok_or_else(|| format!("it is no mode, or more than {allowed:04o}, which is the most"))
}

/// A path that does not depend on where a login begins.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("write the full path, from /".to_owned()) }
}

#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(subcommand)]
    pub(super) command: ConfigCommand,
}

/// About the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Read it and say everything that is wrong
    Check,
}

#[derive(Debug, Args)]
pub(super) struct Account {
    #[command(subcommand)]
    pub(super) command: AccountCommand,
}

/// About accounts.
#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// URL and key thumbprint, which stateless http-01 rules answer with
    Show(Issuer),
    /// Register now instead of with the first order
    Register(Issuer),
}

#[derive(Debug, Args)]
pub(super) struct Issuer {
    /// Only this issuer
    pub(super) issuer: Option<IssuerName>,
}
