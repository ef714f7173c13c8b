//! Commands on other machines, through the system's OpenSSH: its configuration, jumps, agents and certificates count, as if a person
//! had typed `ssh HOST`. Never a question, never an unknown host key, never without a limit.
//!
//! What a command needs travels on standard input, never in an argument: arguments can be read by everybody, here and there.

use super::environment;
use super::process::{self, Ended, Finished, Process};
use super::program;
use crate::types::{Class, Failure, Printable, Secret, SshHost, humane};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// To reach a machine, before it says a word.
const CONNECT_SECS: u32 = 10;
/// How long a shared connection stays open with nobody on it.
const SHARED_SECS: u32 = 30;
/// A socket's path has at most 107 bytes (unix(7)), of which ssh needs a slash, 40 for its digest and 17 for a temporary name.
const MAX_SOCKETS: usize = 49;
/// What ssh itself exits with when it is ssh that failed.
const SSH_FAILED: i32 = 255;
/// What a shell exits with when there is no such command, and when it may not be run.
const NOT_FOUND: i32 = 127;
const NOT_RUN: i32 = 126;
/// What of this process's environment is ssh's business: where keys, agents and tickets are, and what jumps need.
const INHERITED: [&str; 8] =
    ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "SSH_AUTH_SOCK", "KRB5CCNAME", "XDG_RUNTIME_DIR"];
/// What ssh's own configuration cannot change. Without a terminal, questions or forwarding; host keys are known or refused; a
/// connection that dies is noticed within a quarter of a minute.
const FIRM: [&str; 10] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "LogLevel=ERROR",
];

/// One command on one machine.
#[derive(Debug)]
pub struct Errand<'a> {
    /// Where.
    pub host: &'a SshHost,
    /// The command's words, each of which arrives as it is, whatever is in it. Never a secret.
    pub words: &'a [&'a str],
    /// What it is given to read; wiped afterwards.
    pub stdin: Secret,
    /// Another configuration of ssh than the user's and the system's.
    pub config: Option<&'a Path>,
    /// A private directory of sockets: whoever goes to the same machine soon shares one connection. None: one of its own.
    pub shared: Option<&'a Path>,
    /// How long it may take, the connection included.
    pub limit: Duration,
    /// How much it may answer, in bytes.
    pub most: usize,
}

/// How a command there ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit status.
    pub code: i32,
    /// All of its standard output, as it came: parse it, never print it.
    pub stdout: Vec<u8>,
    /// The last lines of its standard error, and of ssh's.
    pub last: Vec<Printable>,
}

impl Errand<'_> {
    /// Goes there, runs the command, and brings its answer back. Dropping the future ends ssh.
    ///
    /// # Errors
    /// Class `Operator`: `ssh:not-found` (no ssh here), `ssh:host-key-unknown`, `ssh:host-key-changed`, `ssh:denied`, `ssh:config`,
    /// `ssh:command` (not found there, or not to be run), `ssh:too-long` (more than `most`). Class `Retry`: `ssh:unresolved`,
    /// `ssh:unreachable`, `ssh:lost`, `ssh:silent` (beyond the limit), `ssh:failed` for anything else, in ssh's own words.
    pub async fn run(mut self) -> Result<Said, Failure> {
        let place = self.host.to_string();
        let path = std::env::var_os("PATH").unwrap_or_else(environment::path);
        let program = program::resolve("ssh", &path, &place).map_err(|failure| match failure.code.as_str() {
            "hook:not-found" => {
                let message = format!("there is no ssh on this machine, along {}", path.display());
                Failure::new(Class::Operator, "ssh:not-found", &place, message)
                    .advise("install OpenSSH's client (openssh-client)")
            }
            _ => failure,
        })?;
        let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)));
        let mut environment = environment::base();
        // ssh says why in its own words, which are told apart below.
        environment.push(("LC_ALL".to_owned(), OsString::from("C")));
        environment.extend(inherited);
        let process = Process {
            program,
            args: self.arguments(),
            environment,
            stdin: std::mem::take(&mut self.stdin),
            answer: Some(self.most),
            limit: self.limit,
            place,
        };
        judge(process::run(&process).await?, &self)
    }

    /// `-o` for each firm option, then whom, then the command in one word for a POSIX shell.
    fn arguments(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["-T".into()];
        if let Some(config) = self.config {
            args.extend(["-F".into(), config.into()]);
        }
        let connect = format!("ConnectTimeout={CONNECT_SECS}");
        for option in FIRM.iter().copied().chain([connect.as_str()]) {
            args.extend(["-o".into(), option.into()]);
        }
        args.extend(self.shared.filter(|dir| dir.as_os_str().len() <= MAX_SOCKETS).into_iter().flat_map(sharing));
        args.extend(self.host.user().into_iter().flat_map(|user| ["-l".into(), user.into()]));
        args.extend(self.host.port().into_iter().flat_map(|port| ["-p".into(), port.to_string().into()]));
        let command: Vec<String> = self.words.iter().map(|word| quoted(word)).collect();
        args.extend(["--".into(), self.host.host().into(), command.join(" ").into()]);
        args
    }
}

/// The first to come opens the connection, which stays for a while after the last has gone.
fn sharing(dir: &Path) -> [OsString; 6] {
    // `%C` is a digest of who goes where. A percent sign of the directory's own would be read as such a mark.
    let dir = dir.to_string_lossy().replace('%', "%%");
    let options =
        ["ControlMaster=auto".to_owned(), format!("ControlPath={dir}/%C"), format!("ControlPersist={SHARED_SECS}")];
    let [master, path, persist] = options.map(OsString::from);
    ["-o".into(), master, "-o".into(), path, "-o".into(), persist]
}

/// A word that a POSIX shell reads as just that.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Tells what is ssh's failure from what is the command's.
fn judge(finished: Finished, errand: &Errand<'_>) -> Result<Said, Failure> {
    let Errand { host, words, limit, .. } = *errand;
    let output = finished.output;
    let last: Vec<Printable> = output.last.into_iter().collect();
    let place = host.to_string();
    let command = words.first().copied().unwrap_or_default();
    let failure = match finished.ended {
        _ if output.too_long => {
            let message = format!("{command} there answers without end: {} bytes and more", output.stdout.len());
            Failure::new(Class::Operator, "ssh:too-long", &place, message)
                .advise("look at what its login prints, and at which program that is there")
        }
        Ended::TimedOut => {
            let message = format!("no answer within {}, and the connection was ended", humane(limit));
            Failure::new(Class::Retry, "ssh:silent", &place, message)
                .advise(format!("log in there and look what hangs: ssh {}", host.typed()))
        }
        Ended::Signal(signal) => {
            Failure::new(Class::Retry, "ssh:failed", &place, format!("ssh was killed by signal {signal}"))
        }
        Ended::Code(SSH_FAILED) => own(&last, host),
        Ended::Code(code @ (NOT_FOUND | NOT_RUN)) => {
            let why = if code == NOT_FOUND { "was not found" } else { "may not be run" };
            let message = format!("{command} {why} on that machine");
            let advice = format!("install {command} where a login without a terminal finds it, such as /usr/bin");
            Failure::new(Class::Operator, "ssh:command", &place, message).advise(advice)
        }
        Ended::Code(code) => return Ok(Said { code, stdout: output.stdout, last }),
    };
    Err(last.iter().fold(failure, |failure, line| failure.detail(line.as_str())))
}

/// What ssh says when it is ssh that failed.
fn own(last: &[Printable], host: &SshHost) -> Failure {
    let says = |text: &str| last.iter().any(|line| line.as_str().contains(text));
    let line =
        |texts: &[&str]| last.iter().rev().map(Printable::as_str).find(|it| texts.iter().any(|text| it.contains(text)));
    let place = host.to_string();
    let name = host.typed();
    let failure =
        |class, code: &str, message: &str, advice: &str| Failure::new(class, code, &place, message).advise(advice);
    if says("IDENTIFICATION HAS CHANGED") || says("is revoked") {
        return failure(
            Class::Operator,
            "ssh:host-key-changed",
            "its host key is another than the known one: it was installed anew, or somebody is in between",
            "compare its key with what its console shows; only then take the old one out of known_hosts and put the new one in",
        );
    }
    if says("Host key verification failed") || says("host key is known") {
        return failure(
            Class::Operator,
            "ssh:host-key-unknown",
            "its host key is not known here, and unknown ones are never accepted",
            &format!(
                "log in once by hand as the user everleaf runs as (ssh {name}), and compare the key before saying yes"
            ),
        );
    }
    if let Some(line) = line(&["Permission denied", "Too many authentication failures"]) {
        return failure(
            Class::Operator,
            "ssh:denied",
            &format!("it does not let us in: {line}"),
            "put this user's public key into authorized_keys there; keys that ask for a passphrase need an agent",
        );
    }
    if let Some(line) = line(&["Could not resolve hostname"]) {
        let advice = "is the host's name right, and known in DNS or in ssh_config?";
        return failure(Class::Retry, "ssh:unresolved", line.trim_start_matches("ssh: "), advice);
    }
    if let Some(line) = line(&["connect to host", "connect to address", "banner exchange"]) {
        let advice = "is the machine up, and may this one connect to its ssh port?";
        return failure(Class::Retry, "ssh:unreachable", &format!("it cannot be reached: {}", bare(line)), advice);
    }
    if let Some(line) = line(&["onnection closed", "onnection reset", "not responding", "Broken pipe", "kex_exchange"])
    {
        let advice = "its ssh let go: look at its log, and at MaxStartups and MaxSessions of its sshd_config";
        return failure(Class::Retry, "ssh:lost", &format!("the connection was lost: {}", bare(line)), advice);
    }
    if let Some(line) = line(&["onfiguration option", "Bad owner or permissions", "terminating, "]) {
        return failure(
            Class::Operator,
            "ssh:config",
            &format!("ssh cannot use its configuration: {line}"),
            "mend ssh_config",
        );
    }
    let advice = format!("see what ssh -v {name} says");
    // At `LogLevel=ERROR` ssh keeps silent when a connection that stood is gone.
    match last.iter().rev().map(Printable::as_str).find(|line| !line.trim().is_empty()) {
        Some(said) => failure(Class::Retry, "ssh:failed", &format!("ssh failed: {said}"), &advice),
        None => failure(Class::Retry, "ssh:lost", "the connection ended without a word (ssh exits with 255)", &advice),
    }
}

/// Without ssh's own name before it.
fn bare(line: &str) -> &str {
    line.strip_prefix("ssh: ").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::Output;

    fn host(text: &str) -> SshHost {
        text.parse().expect("a host")
    }

    fn errand<'a>(host: &'a SshHost, words: &'a [&'a str]) -> Errand<'a> {
        let limit = Duration::from_secs(60);
        Errand { host, words, stdin: Secret::default(), config: None, shared: None, limit, most: 100 }
    }

    fn ended(ended: Ended, said: &[&str]) -> Result<Said, Failure> {
        let mut output = Output::of_an_answer(100);
        output.last.extend(said.iter().map(|line| Printable::new(line)));
        judge(Finished { ended, output }, &errand(&host("ssh://edge"), &["everleaf", "probe"]))
    }

    #[test]
    fn options_end_before_the_host_and_words_arrive_as_they_are() {
        let host = host("ssh://ops@[::1]:2222");
        let errand = errand(&host, &["everleaf", "a b", "it's", "", "$(id)", "--json"]);
        let args = errand.arguments();
        let args: Vec<_> = args.iter().map(|it| it.to_str().expect("text")).collect();
        assert_eq!(
            args[args.len() - 7..],
            ["-l", "ops", "-p", "2222", "--", "::1", r"everleaf 'a b' 'it'\''s' '' '$(id)' --json"]
        );
        assert!(args.starts_with(&["-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]));
        assert!(!args.iter().any(|arg| arg.starts_with("Control")), "nothing is shared unless that is wanted");
        let shared = Errand { config: Some(Path::new("/c")), shared: Some(Path::new("/run/100%/ssh")), ..errand };
        let args = shared.arguments();
        assert_eq!(args[1..3], ["-F", "/c"]);
        assert!(args.contains(&"ControlPath=/run/100%%/ssh/%C".into()), "{args:?}");
        let deep = "/a".repeat(30);
        let deep = Errand { shared: Some(Path::new(&deep)), ..shared };
        assert!(!deep.arguments().contains(&"ControlMaster=auto".into()), "no socket could have so long a name");
    }

    #[test]
    fn each_way_to_fail_has_its_own_word() {
        let cases: [(i32, &str, &str); 13] = [
            (255, "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @", "ssh:host-key-changed"),
            (255, "Host key verification failed.", "ssh:host-key-unknown"),
            (255, "ops@edge: Permission denied (publickey).", "ssh:denied"),
            (255, "ssh: Could not resolve hostname edge: Name or service not known", "ssh:unresolved"),
            (255, "ssh: connect to host edge port 22: Connection refused", "ssh:unreachable"),
            (255, "Connection timed out during banner exchange", "ssh:unreachable"),
            (255, "kex_exchange_identification: read: Connection reset by peer", "ssh:lost"),
            (255, "Timeout, server edge not responding.", "ssh:lost"),
            (255, "/home/ops/.ssh/config: terminating, 1 bad configuration options", "ssh:config"),
            (255, "", "ssh:lost"),
            (255, "no matching cipher found", "ssh:failed"),
            (127, "sh: 1: everleaf: not found", "ssh:command"),
            (126, "sh: 1: everleaf: Permission denied", "ssh:command"),
        ];
        for (code, said, word) in cases {
            let failure = ended(Ended::Code(code), &[said]).expect_err(said);
            assert_eq!((failure.code.as_str(), failure.place.as_str()), (word, "ssh://edge"), "{said}");
            assert!(!failure.advice.is_empty() && !failure.message.is_empty(), "{said}");
        }
        assert_eq!(ended(Ended::TimedOut, &[]).expect_err("silent").code, "ssh:silent");
        assert_eq!(ended(Ended::Code(2), &["talk"]).expect("an answer").code, 2, "the command's own business");
    }
}
