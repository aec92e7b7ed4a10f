//! What the status of a window says: that it makes no sense, and why.
//!
//! Of a window that makes sense, and always did, nothing is said: a lab whose windows are in order writes none of them.

use super::{Schedule, WindowError};
use crate::{
    MaintenanceWindow, MaintenanceWindowStatus, Timestamp,
    condition::{
        find, set_condition,
        window::{INVALID, VALID},
    },
    lease_time::whole_second,
};

impl WindowError {
    /// The same in one word, as the reason of the condition `Invalid`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoTarget => "NoTarget",
            Self::NoTime => "NoTime",
            Self::NeedlessZone => "NeedlessTimeZone",
            Self::NotPositive => "NoDuration",
            Self::TooLong(_) => "TooLong",
            Self::Selector { .. } => "BadSelector",
            Self::Schedule(_) => "BadSchedule",
            Self::Never(_) => "NeverOpens",
            Self::Zone(_) => "UnknownTimeZone",
            Self::Overlaps { .. } => "OverlapsItself",
        }
    }

    /// The same for people who look at a window, and what follows.
    pub fn consequence(&self) -> String {
        format!("the window blocks nothing until it is mended: {self}")
    }
}

/// The status that a window is to have; `None` when it has it.
pub fn verdict(window: &MaintenanceWindow, now: Timestamp) -> Option<MaintenanceWindowStatus> {
    let mut status = window.status.clone().unwrap_or_default();
    let (generation, now) = (window.metadata.generation, whole_second(now));
    let mut say = |invalid, reason, message: &str| {
        set_condition(&mut status.conditions, INVALID, invalid, reason, message, generation, now)
    };
    let was_told = || find(window.status.as_ref().map_or(&[][..], |status| &status.conditions), INVALID).is_some();
    let changed = match Schedule::of(&window.spec) {
        Err(error) => say(true, error.reason(), &error.consequence()),
        Ok(_) => was_told() && say(false, VALID, ""),
    };
    changed.then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GoDuration, MaintenanceWindowSpec, condition::is_true};

    fn window(schedule: &str) -> MaintenanceWindow {
        let spec = MaintenanceWindowSpec {
            exporters: Some(vec!["rig".to_owned()]),
            schedule: Some(schedule.to_owned()),
            duration: Some(GoDuration::from_secs(3600)),
            ..MaintenanceWindowSpec::default()
        };
        let mut window = MaintenanceWindow::new("w", spec);
        window.metadata.generation = Some(1);
        window
    }

    #[test]
    fn only_what_makes_no_sense_is_told_of_and_told_once() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert_eq!(verdict(&window("0 22 * * 5"), now), None);

        let mut bad = window("whenever");
        bad.status = verdict(&bad, now);
        let told = &bad.status.as_ref().unwrap().conditions;
        assert_eq!((told[0].reason.as_str(), told[0].observed_generation), ("BadSchedule", Some(1)));
        assert!(told[0].message.contains("whenever"), "{}", told[0].message);
        assert_eq!(verdict(&bad, now), None, "it says so already");

        // Another fault, then none.
        bad.spec.schedule = Some("0 * * * *".to_owned());
        bad.metadata.generation = Some(2);
        bad.status = verdict(&bad, now);
        assert_eq!(bad.status.as_ref().unwrap().conditions[0].reason, "OverlapsItself");
        bad.spec.schedule = Some("0 22 * * 5".to_owned());
        bad.status = verdict(&bad, now);
        assert!(!is_true(&bad.status.as_ref().unwrap().conditions, INVALID));
        assert_eq!(verdict(&bad, now), None);
    }
}
