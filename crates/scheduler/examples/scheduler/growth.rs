//! What an event costs in labs of growing size, beside the smallest of them.

/// The columns of [`Growth::row`].
pub(crate) fn headings() -> String {
    format!("{:>10} {:>10} {:>7}", "µs median", "µs p99", "ratio")
}

/// One event in one lab after the other, the smallest first.
#[derive(Default)]
pub(crate) struct Growth {
    smallest: Option<f64>,
}

impl Growth {
    /// The cells of the next lab; `times` are in µs, at least one.
    pub(crate) fn row(&mut self, mut times: Vec<f64>) -> String {
        times.sort_by(f64::total_cmp);
        let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        let ratio = median / *self.smallest.get_or_insert(median);
        format!("{median:>10.1} {p99:>10.1} {ratio:>7.2}")
    }
}
