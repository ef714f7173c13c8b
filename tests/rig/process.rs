//! Child processes that cannot outlive their test, ports nobody else has, and bounded waits.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take until it answers; all of them need milliseconds on an idle machine.
const READY: Duration = Duration::from_secs(20);
/// How long a server may take to end after TERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How much of a log is shown when a test fails.
const LOG_TAIL: usize = 4000;

/// The loopback address of this test process. 127/8 is wide enough to give every process its own (a pid has at most 22
/// bits), so that tests running side by side cannot take each other's ports.
pub(crate) fn host() -> Ipv4Addr {
    hosts()[0]
}

/// Three loopback addresses of this test process, for servers that need the same port on several addresses.
pub(crate) fn hosts() -> [Ipv4Addr; 3] {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    [64, 128, 192].map(|block| Ipv4Addr::new(127, block + (high & 63), middle, low))
}

/// A port that is free, for TCP and UDP, on all of [`hosts`] and on 127.0.0.1; handed out once on this machine.
pub(crate) fn free_port() -> u16 {
    /// Below the kernel's ephemeral range (32768…), so that no outgoing connection takes one in between.
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;
    /// Whoever has this UDP socket (nobody serves DNS at every address) has the port's number for as long as its process lives. Some servers (named) share a port
    /// with others instead of failing, so that asking for it is not enough.
    const CLAIM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    static CLAIMED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes begin at different places, so that they seldom try the same number.
    let begin = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT)).expect("below COUNT");
    let free =
        |host: &Ipv4Addr, port| TcpListener::bind((*host, port)).is_ok() && UdpSocket::bind((*host, port)).is_ok();
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(turn < COUNT, "no free port is left");
        let port = FIRST + begin.wrapping_add(turn) % COUNT;
        let Ok(claim) = UdpSocket::bind((CLAIM, port)) else { continue };
        if hosts().iter().chain([&Ipv4Addr::LOCALHOST]).all(|host| free(host, port)) {
            CLAIMED.lock().expect("no test panics in here").push(claim);
            return port;
        }
    }
}

/// The repository's root.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `tool` is.
///
/// # Panics
/// When it is missing: a test that was skipped has shown nothing.
pub(crate) fn require(tool: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.extend(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from));
    places.iter().map(|place| place.join(tool)).find(|candidate| candidate.is_file()).unwrap_or_else(|| {
        panic!("this test needs `{tool}`, which is not installed: `tests/run` installs everything the tests need")
    })
}

/// A new directory for a server's files. It is kept when the test fails.
pub(crate) fn scratch(what: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(&format!("everleaf-{what}-")).tempdir().expect("a temporary directory")
}

/// Gives this thread and the processes it starts mounts of their own: whatever happens, nothing stays mounted.
pub(crate) fn own_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace: these tests run as root");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .expect("private mounts");
}

/// Runs a command to its end with `input` and answers its standard output.
///
/// # Panics
/// When it fails, with all it printed.
pub(crate) fn run(command: &mut Command, input: Option<&str>) -> String {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        pipe.write_all(text.as_bytes()).expect("the command reads its input");
    }
    let output = child.wait_with_output().expect("the command ends");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// Waits until `ready` is true; `false` when it is not in `limit`.
pub(crate) fn wait_until(limit: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if ready() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running server. Ended by pid on drop; its log is shown and its directory kept when the test panics.
pub(crate) struct Daemon {
    what: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` with its output in `dir/WHAT.log`.
    ///
    /// The kernel sends it TERM when the test process dies, however it dies, so that nothing is left running.
    pub(crate) fn spawn(what: &str, command: &Command, dir: &Path) -> Self {
        let log = dir.join(format!("{what}.log"));
        let out = File::options().create(true).append(true).open(&log).expect("a log file");
        let mut guarded = Command::new(require("setpriv"));
        guarded.args(["--pdeathsig", "TERM", "--"]).arg(require_program(command)).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(name, value),
                None => guarded.env_remove(name),
            };
        }
        let child = guarded
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a second handle"))
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        Self { what: what.to_owned(), child, log }
    }

    /// Waits until `ready` is true.
    ///
    /// # Panics
    /// When it is not in time, or when the child has ended: then it was somebody else who answered on its port.
    pub(crate) fn await_ready(&mut self, mut ready: impl FnMut() -> bool) {
        let mut ended = None;
        let answered = wait_until(READY, || {
            ended = self.child.try_wait().expect("the child can be asked");
            ended.is_some() || ready()
        });
        assert!(ended.is_none(), "{} ended at once ({ended:?}):\n{}", self.what, self.log());
        assert!(answered, "{} was not ready within {READY:?}:\n{}", self.what, self.log());
    }

    /// Waits until the child, and not somebody else, listens at `address`.
    pub(crate) fn await_port(&mut self, address: SocketAddr) {
        let pid = self.pid();
        self.await_ready(|| listens(pid, address));
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("the child can be asked").is_none()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        // It may have ended by itself; whoever cares asks `is_alive`.
        let _ = kill(pid, signal);
    }

    /// What it has printed so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Ends it and waits for its end.
    pub(crate) fn stop(&mut self) {
        if !self.is_alive() {
            return;
        }
        // TERM first: a master process takes its workers with it.
        self.signal(Signal::SIGTERM);
        if !wait_until(GRACE, || !self.is_alive()) {
            self.child.kill().expect("the child can be killed");
            self.child.wait().expect("the child ends");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.char_indices().rev().nth(LOG_TAIL).map_or(0, |(at, _)| at);
            let mut text = String::new();
            let _ = writeln!(text, "---- the end of {}'s log:\n{}", self.what, &log[from..]);
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

/// Whether `pid` or a descendant of it has a socket that listens at `address` (IPv4).
fn listens(pid: u32, address: SocketAddr) -> bool {
    let IpAddr::V4(ip) = address.ip() else { panic!("the rig listens on IPv4") };
    // /proc/net/tcp shows the address as the kernel's 32-bit number and the state LISTEN as 0A.
    let place = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    // Its own network: a test may have put it into another one.
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let inodes: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(1) == Some(&place.as_str()) && fields.get(3) == Some(&"0A"))
        .filter_map(|fields| Some(format!("socket:[{}]", fields.get(9)?)))
        .collect();
    !inodes.is_empty() && family(pid).iter().any(|member| holds(*member, &inodes))
}

fn holds(pid: u32, sockets: &[String]) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
}

/// `pid` and its children, grandchildren and so on.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children.flat_map(family)).collect()
}

fn require_program(command: &Command) -> PathBuf {
    let program = Path::new(command.get_program());
    if program.is_absolute() { program.to_owned() } else { require(&program.to_string_lossy()) }
}
