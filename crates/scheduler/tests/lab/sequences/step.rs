//! What may happen next.

use jumpstarter_model::ExporterPhase;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create {
        client: &'static str,
        target: Target,
        times: Asked,
        requeues: bool,
    },
    Edit {
        lease: usize,
        edit: Edit,
    },
    Delete {
        lease: usize,
    },
    Exporter {
        name: &'static str,
        change: Turn,
    },
    Policy {
        name: &'static str,
        exporters: &'static str,
        clients: &'static str,
        terms: Terms,
    },
    NoPolicy {
        name: &'static str,
    },
    Quota {
        name: &'static str,
        quota: Limits,
    },
    NoQuota {
        name: &'static str,
    },
    Client {
        name: &'static str,
        team: &'static str,
    },
    NoClient {
        name: &'static str,
    },
    TornDown {
        exporter: &'static str,
    },
    Wait {
        secs: i64,
    },
    /// Maintenance, so many seconds from now, or none any more.
    Window {
        name: &'static str,
        board: &'static str,
        clients: Option<&'static str>,
        begin: i64,
        secs: i64,
    },
    NoWindow {
        name: &'static str,
    },
    Settle,
    /// The process dies after so many of the writes that it decided on, then starts again.
    Crash {
        writes: usize,
    },
    /// One decided write fails and the true objects are observed again; the others succeed.
    Conflict {
        action: usize,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Selector(&'static str),
    Pinned { exporter: &'static str, allow_disabled: bool },
}

/// Seconds from now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    Duration(i64),
    Begin(i64, i64),
    End(i64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit {
    Release,
    Last(i64),
    Transfer(&'static str),
    Want(&'static str),
    Begin(i64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    Online(bool),
    Registered(bool),
    Enabled(bool),
    Phase(ExporterPhase),
    Board(&'static str),
    Deleted,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) priority: i64,
    pub(crate) at_most: Option<i64>,
    pub(crate) spot: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) exporters: &'static str,
    pub(crate) by: u8,
    pub(crate) devices: Option<i64>,
    pub(crate) time: Option<(i64, i64)>,
    pub(crate) weight: Option<i64>,
}
