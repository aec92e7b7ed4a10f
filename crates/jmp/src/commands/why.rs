//! `jmp why`.
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;
use jumpstarter_client::{ClientError, WhatIf};
use jumpstarter_model::Selector;

use crate::{
    client_args::ClientArgs,
    complete,
    failure::Failure,
    listing::{Present, why},
    output::{self, DataMode},
    terminal,
    values::duration,
};

/// Options of the command.
#[derive(Args)]
pub(crate) struct Why {
    /// Name of the lease.
    #[arg(add = ArgValueCandidates::new(complete::leases))]
    name: String,
    #[command(flatten)]
    client: ClientArgs,
    /// What if it asked for any exporter with these labels? May be given more than once.
    #[arg(short = 'l', long = "if-selector", value_name = "SELECTOR")]
    selector: Vec<String>,
    /// What if it asked for this long: 30m, 3h30m, 1d, 01:30:00, PT1H30M, or seconds.
    #[arg(long = "if-duration", value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,
    /// Output mode.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<DataMode>,
}

impl Why {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let selector = match self.selector.join(",") {
            text if text.trim().is_empty() => None,
            text => Some(
                Selector::parse(&text)
                    .map_err(|error| Failure::Usage(format!("Invalid value for '-l' / '--if-selector': {error}")))?,
            ),
        };
        let selector = selector.map(|selector| selector.to_string());
        let (client, _) = self.client.connect().await?;
        let what_if = WhatIf { selector, duration: self.duration };
        let told = client.explain_lease(&self.name, &what_if).await.map_err(|error| match error {
            ClientError::Controller { status, .. } if status.code() == tonic::Code::Unimplemented => Failure::new(
                "this service cannot explain leases: `jmp get leases -o wide` shows what it says of each".to_owned(),
            ),
            other => other.into(),
        })?;
        let present = Present::here();
        match self.output {
            None => output::write(&why::text(&told, &present, terminal::stdout_colours())),
            Some(DataMode::Json) => output::write(&(output::json(&why::to_json(&told, &present))? + "\n")),
            Some(DataMode::Yaml) => output::write(&(output::yaml(&why::to_json(&told, &present))? + "\n")),
        }
        Ok(())
    }
}
