//! What runs under strace.

use crate::site::{Site, pair, scope, showing};
use everleaf::ports::{AppendError, Journal, LockError, Locks};
use everleaf::types::{Seq, Timestamp};
use serde_json::json;
use std::env;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// What to do: `publish NUMBER EPOCH`, `append EXPECT`, `compact EXPECT` or `lock`.
pub(crate) const TASK: &str = "EVERLEAF_DISK_TASK";
/// Where.
pub(crate) const ROOT: &str = "EVERLEAF_DISK_ROOT";
/// This test's own name.
pub(crate) const NAME: &str = "helper::helper";

#[test]
fn helper() {
    let (Ok(task), Ok(root)) = (env::var(TASK), env::var(ROOT)) else {
        let site = Site::new();
        run("publish 7 1", &site).expect("a plain publish succeeds");
        assert_eq!(site.shown(), showing(7), "without a task, the helper shows that it can do one");
        return;
    };
    outnumber_the_main_thread();
    run(&task, &Site::at(Path::new(&root))).expect("the task succeeds");
}

/// strace counts calls for each thread apart, and acts on the n-th one of any. The test harness's own thread opens its libraries and
/// prints a line first: after these, no call of the task has a number as small as any of those.
fn outnumber_the_main_thread() {
    for _ in 0..20 {
        let mut nothing = File::options().write(true).open("/dev/null").expect("it opens");
        nothing.write_all(b".").expect("it takes everything");
    }
}

fn run(task: &str, site: &Site) -> Result<(), String> {
    let at = Timestamp::from_secs(1_800_000_000);
    let failed = |error: AppendError| error.to_string();
    let words: Vec<_> = task.split(' ').collect();
    let number = |word: &str| word.parse::<u32>().expect("a number");
    match words[..] {
        ["publish", generation, epoch] => {
            site.publish(number(generation), number(epoch).into()).map(drop).map_err(|failure| failure.to_string())
        }
        ["append", expect] => {
            let expect = Seq(number(expect).into());
            site.state().append(&scope(), expect, at, &pair(expect.0 + 1)).map(drop).map_err(failed)
        }
        ["compact", expect] => {
            let snapshot = json!({"kind": "snapshot"});
            site.state().compact(&scope(), Seq(number(expect).into()), at, &snapshot).map_err(failed)
        }
        ["lock"] => match site.state().try_lock(&"shop".parse().expect("a name")) {
            Ok(_) => Ok(()),
            Err(LockError::Held(_)) => Err("somebody else has it".to_owned()),
            Err(LockError::Failed(failure)) => Err(failure.to_string()),
        },
        _ => panic!("an unknown task: {task}"),
    }
}
