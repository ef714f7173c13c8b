//! Reload verbs and checks as lines for a shell on the node.

use super::super::reload::UNIT_RELOAD;
use crate::config::spec::{Hook, Reload};
use crate::hook::quoted;
use std::path::Path;
use std::time::Duration;

/// For telling a process.
const SIGNAL: Duration = Duration::from_secs(30);

/// A command of the configuration.
pub(super) fn of_hook(hook: &Hook) -> String {
    if hook.shell {
        hook.argv.join(" ")
    } else {
        hook.argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }
}

/// A reload with its limit; nothing where there is nothing to do.
pub(super) fn of_reload(reload: &Reload) -> Option<(String, Duration)> {
    match reload {
        Reload::None | Reload::Hook | Reload::HaProxy { .. } => None,
        Reload::Systemd { unit } => Some((format!("systemctl reload -- {}", quoted(unit)), UNIT_RELOAD)),
        Reload::Signal { signal, pid_file } => Some((signalled(signal, pid_file), SIGNAL)),
        Reload::Exec(hook) => Some((of_hook(hook), hook.timeout)),
    }
}

/// Signals whom the pid file names, if that can be anybody.
fn signalled(signal: &str, pid_file: &Path) -> String {
    let file = quoted(&pid_file.to_string_lossy());
    format!(
        "pid=; read -r pid <{file} || [ -n \"$pid\" ] || exit 1; \
         case $pid in '' | 0* | 1 | *[!0-9]*) echo {file} names no process >&2; exit 1 ;; esac; \
         kill -s {} \"$pid\"",
        quoted(signal)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn only_a_process_that_can_be_meant_is_signalled() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("it's a pid");
        let mut sleeper = Command::new("sleep").arg("60").spawn().expect("it runs");
        let told = |text: &str| {
            std::fs::write(&file, text).expect("written");
            let line = signalled("USR1", &file);
            Command::new("sh").arg("-c").arg(line).output().expect("it runs").status.success()
        };
        for wrong in ["", "\n", "1\n", "0\n", "-1\n", "x\n", "12 x\n", "99999999\n"] {
            assert!(!told(wrong), "{wrong:?}");
        }
        assert!(told(&format!("{}\n/usr/sbin/haproxy\n", sleeper.id())));
        let ended = std::os::unix::process::ExitStatusExt::signal(&sleeper.wait().expect("it ends"));
        assert_eq!(ended, Some(10), "SIGUSR1");
    }

    #[test]
    fn words_arrive_as_they_are_and_scripts_as_scripts() {
        let hook = |argv: &[&str], shell| Hook {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            shell,
            timeout: Duration::from_secs(1),
            certbot: false,
            unit: None,
        };
        assert_eq!(of_hook(&hook(&["nginx", "-t", "-c", "a b"], false)), "nginx -t -c 'a b'");
        assert_eq!(of_hook(&hook(&["nginx -t && x"], true)), "nginx -t && x");
        let (line, _) = of_reload(&Reload::Systemd { unit: "nginx@a.service".into() }).expect("a verb");
        assert_eq!(line, "systemctl reload -- nginx@a.service");
        assert_eq!(of_reload(&Reload::None), None);
    }
}
