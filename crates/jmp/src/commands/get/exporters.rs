//! `jmp get exporters`.
use clap::{Args, ValueEnum};
use jumpstarter_client::ExporterQuery;

use super::watch;
use crate::{
    client_args::ClientArgs,
    failure::Failure,
    listing::{
        Present, deprecation,
        exporters::{self, Columns},
    },
    output::{self, ListMode},
};

/// More to show of each exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum With {
    /// Who holds it until when.
    Leases,
    /// Whether the service hears from it.
    Online,
    /// What it is doing.
    Status,
}

/// Options of the command.
#[derive(Args)]
pub(crate) struct GetExporters {
    #[command(flatten)]
    client: ClientArgs,
    /// Only exporters with these labels; may be given more than once.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Vec<String>,
    /// Output mode; `wide` shows everything in one table.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<ListMode>,
    /// Show more: who leases it, whether it is online, what it is doing; comma-separated or repeated.
    #[arg(long, value_enum, value_name = "FIELDS", value_delimiter = ',', ignore_case = true)]
    with: Vec<With>,
    /// Labels that the service's configuration hides, too.
    #[arg(long)]
    show_hidden_labels: bool,
    /// Exporters that are switched off, too.
    #[arg(long)]
    allow_disabled: bool,
    /// Exporters asked for at a time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    page_size: Option<u32>,
    /// Go on and show the list again whenever it changes.
    #[arg(short, long)]
    watch: bool,
}

impl GetExporters {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let wide = self.output == Some(ListMode::Wide);
        let columns = Columns {
            online: wide || self.with.contains(&With::Online),
            status: wide || self.with.contains(&With::Status),
            leases: wide || self.with.contains(&With::Leases),
            enabled: self.allow_disabled,
            message: wide,
        };
        let (client, _) = self.client.connect().await?;
        let query = ExporterQuery {
            selector: self.selector.join(","),
            show_hidden_labels: self.show_hidden_labels,
            page_size: self.page_size,
        };
        let look = || async {
            let mut found = client.list_exporters_with(&query).await?;
            found.retain(|exporter| self.allow_disabled || exporter.enabled);
            let leases = if columns.leases { client.list_leases(true).await? } else { Vec::new() };
            if !self.watch {
                for (exporter, (label, message)) in found
                    .iter()
                    .flat_map(|exporter| exporter.deprecated_labels.iter().map(move |label| (exporter, label)))
                {
                    output::warn(&deprecation(&format!("label '{label}' on exporter '{}'", exporter.name), message));
                }
            }
            Ok(exporters::list(&exporters::join(found, &leases), columns, &Present::here()))
        };
        watch::print(self.watch, self.output, look).await
    }
}
