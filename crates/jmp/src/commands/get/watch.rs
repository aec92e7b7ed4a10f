//! `--watch`: the list again whenever it has changed.
use std::{io::IsTerminal as _, time::Duration};

use tokio::time::sleep;

use crate::{
    failure::Failure,
    listing::View,
    output::{self, ListMode},
};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// Prints what `look` finds: once, or for ever when `watch` is set. Only the first look may fail.
pub(super) async fn print<F, Fut>(watch: bool, mode: Option<ListMode>, look: F) -> Result<(), Failure>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<View, Failure>>,
{
    let mut shown = output::rendered(&look().await?, mode)?;
    if !watch {
        output::write(&shown);
        return Ok(());
    }
    let screen = std::io::stdout().is_terminal();
    show(&shown, screen);
    let mut away = false;
    loop {
        sleep(LOOK).await;
        match look().await.and_then(|view| output::rendered(&view, mode)) {
            Ok(text) => {
                away = false;
                if text != shown {
                    show(&text, screen);
                    shown = text;
                }
            }
            // Whoever watches wants to see the end of an outage too.
            Err(Failure::Failed(reason)) if !away => {
                tracing::warn!("{reason}");
                away = true;
            }
            Err(_) => {}
        }
    }
}

fn show(text: &str, screen: bool) {
    if screen {
        output::write("\x1b[H\x1b[2J");
    }
    output::write(text);
}
