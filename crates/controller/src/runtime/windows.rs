//! Maintenance windows that make no sense: an Event says so, and their status.
//!
//! Written is only what changes something, so once for each change of a window that is wrong, or was. A write that fails
//! is not repeated: the window is judged again when it changes, and when another controller takes over.

use jumpstarter_model::{MaintenanceWindow, window};
use jumpstarter_store::{Key, Kind, Object, Write};

use super::{
    Runtime,
    jobs::{Job, Work},
};

impl Runtime {
    /// Looks at a window that came or changed.
    pub(super) fn note_window(&mut self, object: &Object, seen: &MaintenanceWindow) {
        let name = object.name();
        if window::verdict(seen, self.config.clock.now()).is_none() {
            self.misjudged.remove(name);
            return;
        }
        if let Err(error) = window::Schedule::of(&seen.spec) {
            self.tell_senseless(object, error.consequence());
        }
        self.misjudged.insert(name.to_owned());
    }

    /// Begins to write what windows are to say of themselves.
    pub(super) fn judge_windows(&mut self) {
        for window in std::mem::take(&mut self.misjudged) {
            let key = Key::new(Kind::MaintenanceWindow, &self.config.namespace, &window);
            self.submit(Work::Judge { window }, vec![key]);
        }
    }

    pub(super) fn launch_judgement(&mut self, window: String, keys: Vec<Key>) {
        let seen = self.world.read().windows.get(&window).cloned();
        let status = seen.as_ref().and_then(|seen| window::verdict(seen, self.config.clock.now()));
        let Some((seen, status)) = seen.zip(status) else { return };
        let judged = MaintenanceWindow { status: Some(status), ..MaintenanceWindow::clone(&seen) };
        let writes = vec![Write::UpdateStatus(Object::from_resource(&judged))];
        self.begin(Job::new(Work::Judge { window }, keys), writes);
    }
}
