//! What a configuration names but does not hold: secrets, hooks, roots. A trait, so that reading YAML stays pure.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The longest secret: a MAC key or a URL is far shorter.
const MAX_SECRET: u64 = 16 * 1024;
/// Where a hook given by name alone is looked for: what hooks get as PATH.
const HOOK_PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const WORLD_READABLE: u32 = 0o004;
const WORLD_WRITABLE: u32 = 0o002;
const STICKY: u32 = 0o1000;
const EXECUTABLE: u32 = 0o111;

/// What is wrong with something outside, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) help: String,
}

impl Trouble {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// The world outside the YAML.
pub(super) trait Outside {
    /// A secret in a file that nobody else may read.
    fn secret_file(&self, path: &Path) -> Result<String, Trouble>;
    /// A secret in an environment variable.
    fn secret_env(&self, name: &str) -> Result<String, Trouble>;
    /// A secret that systemd handed over (`LoadCredential=`).
    fn secret_credential(&self, name: &str) -> Result<String, Trouble>;
    /// Whether a file is there and readable.
    fn readable(&self, path: &Path) -> Result<(), Trouble>;
    /// Whether a program is there, can be started, and can be changed by its owner only. `program` is an absolute path or a bare name.
    fn program(&self, program: &str) -> Result<(), Trouble>;
}

/// No world: every file is there and every secret is empty. For reading YAML by itself.
pub(super) struct Nothing;

impl Outside for Nothing {
    fn secret_file(&self, _: &Path) -> Result<String, Trouble> {
        Ok(String::new())
    }
    fn secret_env(&self, _: &str) -> Result<String, Trouble> {
        Ok(String::new())
    }
    fn secret_credential(&self, _: &str) -> Result<String, Trouble> {
        Ok(String::new())
    }
    fn readable(&self, _: &Path) -> Result<(), Trouble> {
        Ok(())
    }
    fn program(&self, _: &str) -> Result<(), Trouble> {
        Ok(())
    }
}

/// This machine.
pub(super) struct Machine;

impl Outside for Machine {
    fn secret_file(&self, path: &Path) -> Result<String, Trouble> {
        let (file, meta) = opened(path)?;
        let mode = meta.permissions().mode();
        if mode & WORLD_READABLE != 0 {
            let message =
                format!("{} holds a secret, and everybody may read it (mode {:04o})", path.display(), mode & 0o7777);
            return Err(Trouble::new(
                message,
                format!("chmod 600 {}; then change the secret, since it may be known", path.display()),
            ));
        }
        one_line(file, path)
    }

    fn secret_env(&self, name: &str) -> Result<String, Trouble> {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty());
        value.ok_or_else(|| {
            let help = "set it where everleaf is started (systemd: EnvironmentFile=), or use a file";
            Trouble::new(format!("the environment variable {name} is not set"), help)
        })
    }

    fn secret_credential(&self, name: &str) -> Result<String, Trouble> {
        let help = format!(
            "add `LoadCredential={name}:/path/to/secret` to the unit, or use a file when everleaf is not started by systemd"
        );
        let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) else {
            return Err(Trouble::new("systemd handed over no credentials ($CREDENTIALS_DIRECTORY is not set)", help));
        };
        let path = directory.join(name);
        let (file, _) = opened(&path).map_err(|trouble| Trouble::new(trouble.message, help))?;
        one_line(file, &path)
    }

    fn readable(&self, path: &Path) -> Result<(), Trouble> {
        opened(path).map(|_| ())
    }

    fn program(&self, program: &str) -> Result<(), Trouble> {
        if !program.contains('/') {
            let found = HOOK_PATH.iter().any(|directory| started(&Path::new(directory).join(program)).is_ok());
            let help = format!("install it, or write its whole path; looked in {}", HOOK_PATH.join(", "));
            return if found { Ok(()) } else { Err(Trouble::new(format!("there is no program `{program}`"), help)) };
        }
        started(Path::new(program))
    }
}

fn opened(path: &Path) -> Result<(File, Metadata), Trouble> {
    let told = |error: &std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => "create the file, or correct the path".to_owned(),
            std::io::ErrorKind::PermissionDenied => "let the user everleaf runs as read it".to_owned(),
            _ => String::new(),
        };
        Trouble::new(format!("{} cannot be read: {}", path.display(), plain(error)), help)
    };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let meta = std::fs::metadata(path).map_err(|error| told(&error))?;
    if !meta.is_file() {
        return Err(Trouble::new(format!("{} is not a file", path.display()), "name a regular file"));
    }
    let file = File::open(path).map_err(|error| told(&error))?;
    Ok((file, meta))
}

/// An error of the system without its number.
pub(super) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn one_line(file: File, path: &Path) -> Result<String, Trouble> {
    let mut text = String::new();
    let read = file.take(MAX_SECRET + 1).read_to_string(&mut text);
    let trimmed = text.trim();
    let wrong = match read {
        Err(_) => Some("is not text"),
        Ok(_) if text.len() as u64 > MAX_SECRET => Some("is too long for a secret"),
        Ok(_) if trimmed.is_empty() => Some("is empty"),
        Ok(_) if trimmed.contains(['\n', '\r']) => Some("holds more than one line"),
        Ok(_) => None,
    };
    match wrong {
        Some(wrong) => {
            Err(Trouble::new(format!("{} {wrong}", path.display()), "put the secret there, alone on one line"))
        }
        None => Ok(trimmed.to_owned()),
    }
}

fn started(path: &Path) -> Result<(), Trouble> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|error| {
        Trouble::new(format!("{shown} cannot be started: {}", plain(&error)), "install it, or correct the path")
    })?;
    let mode = meta.permissions().mode();
    if !meta.is_file() || mode & EXECUTABLE == 0 {
        return Err(Trouble::new(
            format!("{shown} cannot be started: it is no executable file"),
            format!("chmod 755 {shown}"),
        ));
    }
    if mode & WORLD_WRITABLE != 0 {
        let message = format!("everybody may change {shown} (mode {:04o}), and everleaf would run it", mode & 0o7777);
        return Err(Trouble::new(message, format!("chmod o-w {shown}, after looking at what it holds")));
    }
    let parent =
        path.parent().and_then(|parent| std::fs::metadata(parent).ok()).map_or(0, |meta| meta.permissions().mode());
    if parent & WORLD_WRITABLE != 0 && parent & STICKY == 0 {
        let message = format!("everybody may replace {shown}: its directory is world-writable");
        return Err(Trouble::new(message, "chmod o-w the directory, or move the program"));
    }
    Ok(())
}
