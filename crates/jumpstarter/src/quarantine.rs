//! What operators say of quarantines, checked.

use jiff::SignedDuration;
use jumpstarter_controller::QuarantineConfig;
use jumpstarter_model::GoDuration;

/// As written, in flags or a file; what is left out is as usual.
#[derive(Debug, Default)]
pub(crate) struct WrittenQuarantine {
    /// Percent of a pool.
    pub(crate) share: Option<u32>,
    pub(crate) time: Option<GoDuration>,
    pub(crate) pool_label: Option<String>,
    pub(crate) no_checks: bool,
}

impl WrittenQuarantine {
    /// The limits of quarantines; what makes no sense is added to `faults`.
    pub(crate) fn resolve(self, faults: &mut Vec<String>) -> QuarantineConfig {
        let usual = QuarantineConfig::default();
        let share = self.share.unwrap_or(usual.share);
        if share > 100 {
            faults.push(format!("--quarantine-share: {share} is more than 100 percent"));
        }
        if self.time.is_some_and(|time| !time.is_positive()) {
            faults.push(
                "--quarantine-time: must be longer than nothing; --quarantine-share 0 switches it off".to_owned(),
            );
        }
        let pool_label = self.pool_label.filter(|label| !label.is_empty());
        if let Some(label) = &pool_label
            && let Err(error) = jumpstarter_model::labels::validate_key(label)
        {
            faults.push(format!("--quarantine-pool-label: {error}"));
        }
        QuarantineConfig {
            share,
            time: self.time.map_or(usual.time, GoDuration::to_signed),
            longest: usual.longest.max(self.time.map_or(SignedDuration::ZERO, GoDuration::to_signed)),
            pool_label,
            checks: !self.no_checks,
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_and_what_is_left_out_is_as_usual() {
        let mut faults = Vec::new();
        assert_eq!(WrittenQuarantine::default().resolve(&mut faults), QuarantineConfig::default());
        assert_eq!(faults, [""; 0]);
        let written = WrittenQuarantine {
            share: Some(101),
            time: Some(GoDuration::ZERO),
            pool_label: Some("no key".to_owned()),
            no_checks: true,
        };
        written.resolve(&mut faults);
        assert_eq!(faults.len(), 3, "{faults:?}");
    }

    #[test]
    fn the_longest_quarantine_is_never_shorter_than_the_first() {
        let two_days = GoDuration::from_secs(48 * 3600);
        let written = WrittenQuarantine { time: Some(two_days), ..WrittenQuarantine::default() };
        assert_eq!(written.resolve(&mut Vec::new()).longest, two_days.to_signed());
    }
}
