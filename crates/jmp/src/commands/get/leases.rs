//! `jmp get leases`.
use clap::Args;
use jumpstarter_client::LeaseQuery;

use super::watch;
use crate::{
    client_args::ClientArgs,
    failure::Failure,
    listing::{Present, deprecation, leases},
    output::{self, ListMode},
    selectors,
};

/// Options of the command.
#[derive(Args)]
pub(crate) struct GetLeases {
    #[command(flatten)]
    client: ClientArgs,
    /// Only leases that ask for these labels; may be given more than once.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Vec<String>,
    /// Output mode; `wide` adds how each lease stands.
    #[arg(short, long, value_enum, value_name = "MODE")]
    output: Option<ListMode>,
    /// Leases that have ended, too.
    #[arg(short, long)]
    all: bool,
    /// Leases of all clients.
    #[arg(short = 'A', long)]
    all_clients: bool,
    /// Only leases with these tags, as a label selector, such as build=1234.
    #[arg(long, value_name = "SELECTOR")]
    tag_filter: Option<String>,
    /// Leases asked for at a time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    page_size: Option<u32>,
    /// Go on and show the list again whenever it changes.
    #[arg(short, long)]
    watch: bool,
}

impl GetLeases {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let selector = selectors::parse(&self.selector)?;
        let (client, _) = self.client.connect().await?;
        let query = LeaseQuery {
            filter: selectors::server_filter(selector.as_ref()),
            tag_filter: self.tag_filter.clone().unwrap_or_default(),
            ended: self.all,
            page_size: self.page_size,
        };
        let look = || async {
            let mut found = client.list_leases_with(&query).await?;
            found.retain(|lease| {
                selectors::is_among(&lease.selector, selector.as_ref())
                    && (self.all_clients || lease.client == client.name())
            });
            if !self.watch {
                for (lease, (label, message)) in
                    found.iter().flat_map(|lease| lease.deprecated_labels.iter().map(move |label| (lease, label)))
                {
                    output::warn(&deprecation(&format!("selector label '{label}' on lease '{}'", lease.name), message));
                }
            }
            Ok(leases::list(&found, self.output == Some(ListMode::Wide), &Present::here()))
        };
        watch::print(self.watch, self.output, look).await
    }
}
