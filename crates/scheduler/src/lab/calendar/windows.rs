//! Maintenance windows: which exporters they are about, when they open next, and whom they let in all the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jumpstarter_model::{
    MaintenanceWindow, MaintenanceWindowSpec, Selector, Timestamp,
    window::{Opening, Schedule},
};

use super::{Lab, Name, Request, Stay};

/// Openings that are worked out beforehand: a month of every day, most of a year of every week. Cron is slow to read.
const AHEAD: usize = 32;

/// One window that makes sense.
#[derive(Debug)]
pub(crate) struct Window {
    /// What it was made from.
    spec: MaintenanceWindowSpec,
    schedule: Schedule,
    selector: Option<Selector>,
    names: BTreeSet<Name>,
    /// Clients that may have the exporters all the same.
    admits: Option<Selector>,
    pub(super) reason: String,
    /// The openings that are not over yet, the next one first.
    ahead: VecDeque<Opening>,
    /// Exporters that have it in their agenda.
    about: BTreeSet<Name>,
}

impl Window {
    fn of(window: &MaintenanceWindow) -> Option<Self> {
        let spec = &window.spec;
        let selector = |selector| Selector::from_label_selector(selector).ok();
        Some(Self {
            spec: spec.clone(),
            schedule: Schedule::of(spec).ok()?,
            selector: spec.exporter_selector.as_ref().and_then(selector),
            names: spec.exporters.iter().flatten().map(|name| Name::from(name.as_str())).collect(),
            admits: spec.client_selector.as_ref().and_then(selector),
            reason: spec.reason.clone().unwrap_or_default(),
            ahead: VecDeque::new(),
            about: BTreeSet::new(),
        })
    }

    fn is_about(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.names.contains(name) || self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
    }

    /// Whether it lets a client with these labels in.
    pub(super) fn admits(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.admits.as_ref().zip(labels).is_some_and(|(selector, labels)| selector.matches(labels))
    }

    /// The opening that is not over yet.
    fn next(&self) -> Option<Opening> {
        self.ahead.front().copied()
    }

    /// Works out what is ahead at `now`.
    fn look_ahead(&mut self, now: Timestamp) {
        self.ahead.retain(|opening| opening.end > now);
        let mut from = self.ahead.back().map_or(now, |last| last.end);
        while self.ahead.len() < AHEAD {
            let Some(opening) = self.schedule.open_after(from) else { return };
            from = opening.end;
            self.ahead.push_back(opening);
        }
    }

    /// The first opening that has an instant in common with a stay.
    pub(super) fn overlap(&self, stay: Stay) -> Option<Opening> {
        let first = self.ahead.partition_point(|opening| opening.end <= stay.begin);
        match self.ahead.get(first) {
            // What was before the first that is known is over.
            Some(opening) => Some(*opening).filter(|opening| opening.begin < stay.end),
            None if self.ahead.len() < AHEAD => None,
            None => self.schedule.overlap(stay.begin, stay.end),
        }
    }
}

impl Lab {
    pub(in crate::lab) fn observe_window(&mut self, window: &MaintenanceWindow) {
        let Some(name) = window.metadata.name.as_deref().map(Name::from) else { return };
        if self.calendar.windows.get(&name).is_some_and(|known| known.spec == window.spec) {
            return;
        }
        self.remove_window(&name);
        // One that makes no sense blocks nothing.
        let Some(window) = Window::of(window) else { return };
        self.calendar.windows.insert(name.clone(), window);
        self.calendar.news.insert(name);
    }

    pub(in crate::lab) fn forget_window(&mut self, name: &str) {
        self.remove_window(&Name::from(name));
    }

    fn remove_window(&mut self, name: &Name) {
        let Some(mut window) = self.calendar.windows.remove(name) else { return };
        self.calendar.news.remove(name);
        self.close_window(name, &mut window);
    }

    /// Takes a window out of the agendas.
    fn close_window(&mut self, name: &Name, window: &mut Window) {
        if let Some(next) = window.next() {
            self.calendar.alarms.remove(&(next.end, name.clone()));
        }
        window.ahead.clear();
        for exporter in std::mem::take(&mut window.about) {
            if let Some(agenda) = self.calendar.agendas.get_mut(&exporter) {
                agenda.windows.remove(name);
            }
            self.open_up(&exporter);
        }
    }

    /// Opens and closes what is due, and takes new windows in.
    pub(in crate::lab) fn turn_windows(&mut self, now: Timestamp) {
        while let Some((at, name)) = self.calendar.alarms.first().cloned().filter(|(at, _)| *at <= now) {
            self.calendar.alarms.remove(&(at, name.clone()));
            self.calendar.news.insert(name);
        }
        while let Some(name) = self.calendar.news.pop_first() {
            self.turn_window(&name, now);
        }
    }

    fn turn_window(&mut self, name: &Name, now: Timestamp) {
        let Some(mut window) = self.calendar.windows.remove(name) else { return };
        let before = window.next();
        window.look_ahead(now);
        let next = window.next();
        if let Some(old) = before {
            self.calendar.alarms.remove(&(old.end, name.clone()));
        }
        if next.is_none() {
            // It is over for good.
            self.close_window(name, &mut window);
            self.calendar.windows.insert(name.clone(), window);
            return;
        }
        self.calendar.alarms.extend(next.map(|next| (next.end, name.clone())));
        let known = std::mem::take(&mut window.about);
        for exporter in self.exporters_in(&window) {
            window.about.insert(exporter);
        }
        let about = window.about.clone();
        self.calendar.windows.insert(name.clone(), window);
        for exporter in about {
            if known.contains(&exporter) {
                // The last opening is over.
                self.open_up(&exporter);
            } else {
                self.calendar.agendas.entry(exporter.clone()).or_default().windows.insert(name.clone());
                self.refresh(&exporter);
                // It may be nearer than what was ahead already.
                self.touch_shelves(&exporter);
                self.marked.contest = true;
                self.plan_again(&exporter);
            }
        }
    }

    fn exporters_in(&self, window: &Window) -> BTreeSet<Name> {
        let mut found =
            window.names.iter().filter(|name| self.exporters.contains_key(*name)).cloned().collect::<BTreeSet<_>>();
        if let Some(selector) = &window.selector {
            found.extend(self.matching(&Request::new(selector.clone(), None, true)));
        }
        found
    }

    /// Puts the windows that are about an exporter into its agenda, after it came or its labels changed.
    pub(in crate::lab) fn place_windows(&mut self, exporter: &Name) {
        if self.calendar.windows.is_empty() {
            return;
        }
        let bench = self.exporters.get(exporter);
        let mut changed = false;
        for (name, window) in &mut self.calendar.windows {
            // One that is new is placed when it is turned.
            let is =
                bench.is_some_and(|bench| window.is_about(exporter, &bench.seen.labels)) && window.next().is_some();
            if is == window.about.contains(exporter) {
                continue;
            }
            changed = true;
            if is {
                window.about.insert(exporter.clone());
                self.calendar.agendas.entry(exporter.clone()).or_default().windows.insert(name.clone());
            } else {
                window.about.remove(exporter);
                if let Some(agenda) = self.calendar.agendas.get_mut(exporter) {
                    agenda.windows.remove(name);
                }
            }
        }
        if changed {
            self.open_up(exporter);
        }
    }
}
