//! A process that outlives the exporter for a moment: whatever ends the exporter, also a kill, ends its machine.
use std::{path::Path, process::Stdio};

use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
};

/// Each line that comes names the group that runs now, or none. When no more can come, the group is killed and the
/// directory is removed; `end` leaves everything alone.
const SCRIPT: &str = r#"group=
while read -r word; do
    case $word in
        end) exit 0 ;;
        none) group= ;;
        *) group=$word ;;
    esac
done
[ -z "$group" ] || kill -s KILL -- "-$group"
rm -rf -- "$1"
"#;

/// Watches over one machine.
pub(super) struct Guardian {
    child: Child,
    pipe: ChildStdin,
}

impl Guardian {
    /// Starts to watch over what is in `dir`.
    pub(super) fn start(dir: &Path) -> Result<Self, String> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "jumpstarter-guardian"]).arg(dir);
        // A group of its own: a signal to the exporter's group must not end it first.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().map_err(|err| format!("start sh: {err}"))?;
        let pipe = child.stdin.take().ok_or("start sh: it has no input")?;
        Ok(Self { child, pipe })
    }

    /// The process group that runs from now on.
    pub(super) async fn watch(&mut self, group: Option<u32>) {
        let word = group.map_or_else(|| "none".to_owned(), |group| group.to_string());
        self.say(&word).await;
    }

    /// There is nothing left to watch over.
    pub(super) async fn end(mut self) {
        self.say("end").await;
        drop(self.pipe);
        let _ = self.child.wait().await;
    }

    async fn say(&mut self, word: &str) {
        // A guardian that someone killed leaves the work to the exporter, which does it anyway.
        let _ = self.pipe.write_all(format!("{word}\n").as_bytes()).await;
    }
}
