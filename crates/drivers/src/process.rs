//! Groups of processes that drivers start.
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    process::Child,
    time::{Instant, sleep_until},
};

/// Between the request to end and the kill.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at a group that was asked to end.
const LOOK: Duration = Duration::from_millis(20);

/// The running groups of one driver.
#[derive(Clone, Default)]
pub(crate) struct Groups(Arc<Mutex<HashSet<i32>>>);

/// One group. Dropping it kills what is left, unless it was [released](Group::release).
pub(crate) struct Group {
    pid: Option<Pid>,
    all: Groups,
}

impl Groups {
    /// The group of `child`, which was started as the first of its own.
    pub(crate) fn add(&self, child: &Child) -> Group {
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(pid) = pid {
            self.0.lock().expect("no code panics while it holds the groups").insert(pid.as_raw_nonzero().get());
        }
        Group { pid, all: self.clone() }
    }

    /// Asks every group to end, waits for [`GRACE`] and kills the rest.
    pub(crate) async fn close(&self) {
        let running: Vec<_> = {
            let all = self.0.lock().expect("no code panics while it holds the groups");
            all.iter().filter_map(|pid| Pid::from_raw(*pid)).collect()
        };
        for pid in running {
            end(pid).await;
        }
    }
}

impl Group {
    /// Asks the group to end, waits for [`GRACE`] and kills it.
    pub(crate) async fn end(&self) {
        if let Some(pid) = self.pid {
            end(pid).await;
        }
    }

    /// The first process has ended: what it left behind was meant to stay.
    pub(crate) fn release(mut self) {
        self.forget();
        self.pid = None;
    }

    fn forget(&self) {
        if let Some(pid) = self.pid {
            self.all.0.lock().expect("no code panics while it holds the groups").remove(&pid.as_raw_nonzero().get());
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.forget();
        if let Some(pid) = self.pid {
            // It may be gone already, which is what is wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn end(pid: Pid) {
    let _ = kill_process_group(pid, Signal::TERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        if test_kill_process_group(pid).is_err() {
            return;
        }
        sleep_until(Instant::now() + LOOK).await;
    }
    let _ = kill_process_group(pid, Signal::KILL);
}
