//! What people and machines are told: the status file, tables, stories, Nagios lines, metrics, exit codes.
//!
//! Pure rendering: facts in, text out. Nothing here reads a clock, a file or an environment variable; the time, the width
//! and whether colours are wanted come in as arguments. Everything a reader sees is made from a [`Snapshot`], which holds
//! no secrets, so that `status`, `why` and `check` need no rights and no locks.

mod causes;
mod check;
mod crowd;
mod exit;
mod grid;
mod left;
mod line;
mod metrics;
mod page;
mod progress;
mod snapshot;
mod status;
mod steps;
mod story;
mod summary;
mod table;

pub use causes::{Cause, causes, names_of};
pub use check::{Checked, Level, Threshold, check, unknown};
pub use exit::{
    CHANGED, CONFIG, DATA, INTERNAL, OK, OPERATOR, PERMISSION, TEMPORARY, USAGE, highest, of_failure as exit_of_failure,
};
pub use left::left_to_do;
pub use line::{LOOKED, doing, happened};
pub use metrics::metrics;
pub use page::{Page, Paint, ago, clock, columns, cut, in_time};
pub use progress::{Count, Progress};
pub use snapshot::{Looked, certificate};
pub use status::{
    AimStatus, CertificateStatus, EndpointStatus, GenerationStatus, MilestoneStatus, NextStatus, NodeStatus,
    OrderStatus, RunStatus, SCHEMA, Said, Snapshot,
};
pub use steps::{PlannedCertificate, PlannedStep, planned, steps};
pub use story::story;
pub use summary::{failure, failure_lines, headline, next_try, waits};
pub use table::table;
