//! `jmp get usage`.
use clap::Args;
use jumpstarter_client::ClientError;

use crate::{
    client_args::ClientArgs,
    failure::Failure,
    listing::usage,
    output::{self, DataMode},
};

/// Options of the command.
#[derive(Args)]
pub(crate) struct GetUsage {
    #[command(flatten)]
    client: ClientArgs,
    /// Output mode.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<DataMode>,
}

impl GetUsage {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (client, _) = self.client.connect().await?;
        let found = client.usage().await.map_err(|error| match error {
            ClientError::Controller { status, .. } if status.code() == tonic::Code::Unimplemented => {
                Failure::new("this service cannot tell what accounts use".to_owned())
            }
            other => other.into(),
        })?;
        if found.is_empty() && self.output.is_none() {
            output::say(&format!("No quota is about client {}.", client.name()));
            return Ok(());
        }
        output::write(&output::rendered(&usage::list(&found), self.output.map(Into::into))?);
        Ok(())
    }
}
