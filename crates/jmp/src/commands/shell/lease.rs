//! Which lease the shell uses.
use std::io::IsTerminal as _;

use jumpstarter_client::{Client, ClientError, CreateLease, Lease, LeaseProblem, LeaseState};
use jumpstarter_config::Env;
use jumpstarter_model::Selector;

use super::Shell;
use crate::{failure::Failure, listing::Present, output, prompt};

/// The lease of a shell.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// Its name.
    pub(super) name: String,
    /// It was made for this shell, which gives it back.
    pub(super) ours: bool,
}

impl Shell {
    /// Finds the lease that was named, or makes one.
    pub(super) async fn choose(&self, env: &Env, client: &Client) -> Result<Chosen, Failure> {
        let named = self.lease.as_deref().or_else(|| env.get("JMP_LEASE")).filter(|name| !name.is_empty());
        if let Some(name) = named {
            return self.existing(client, name).await;
        }
        let selector = self.selector.join(",");
        if selector.is_empty() && self.name.is_none() {
            return only_one(client).await;
        }
        let wanted = CreateLease {
            selector,
            exporter_name: self.name.clone(),
            duration: self.duration,
            ..CreateLease::default()
        };
        let lease = client.create_lease(&wanted).await?;
        for (label, message) in &lease.deprecated_labels {
            output::warn(&crate::listing::deprecation(&format!("selector label '{label}'"), message));
        }
        let what = match (&self.name, wanted.selector.as_str()) {
            (Some(name), "") => format!("exporter {name}"),
            (_, selector) => format!("selector {selector}"),
        };
        tracing::info!("Acquiring lease {} for {what} for duration {:?}", lease.name, self.duration);
        Ok(Chosen { name: lease.name, ours: true })
    }

    async fn existing(&self, client: &Client, name: &str) -> Result<Chosen, Failure> {
        let lease = client.get_lease(name).await?;
        let unusable = |problem| Failure::from(ClientError::Lease { lease: name.to_owned(), problem });
        if lease.client != client.name() {
            let owner = lease.client;
            return Err(unusable(LeaseProblem::NotMine { owner, me: client.name().to_owned() }));
        }
        if let LeaseState::Over(problem @ LeaseProblem::Ended(_)) = lease.state() {
            return Err(unusable(problem));
        }
        let asked = self.selector.join(",");
        if !asked.is_empty() && !equivalent(&asked, &lease.selector) {
            return Err(Failure::new(format!(
                "lease {name} was made for '{}', not for '{asked}': leave --selector away to use it, or --lease to make \
                 a new one",
                lease.selector
            )));
        }
        Ok(Chosen { name: lease.name, ours: false })
    }
}

/// Both select the same, however they are written.
fn equivalent(one: &str, other: &str) -> bool {
    match (Selector::parse(one), Selector::parse(other)) {
        (Ok(one), Ok(other)) => one.is_equivalent(&other),
        _ => one == other,
    }
}

/// The only active lease of this client; when there are several, somebody has to choose.
async fn only_one(client: &Client) -> Result<Chosen, Failure> {
    let mut mine = client.list_leases(true).await?;
    mine.retain(|lease| lease.client == client.name());
    let chosen = |lease: &Lease| Ok(Chosen { name: lease.name.clone(), ours: false });
    let described = |lease: &Lease| match describe(lease) {
        text if text.is_empty() => lease.name.clone(),
        text => format!("{} ({text})", lease.name),
    };
    match &mine[..] {
        [] => Err(Failure::Usage(
            "no active leases found. Use --selector/-l or --name/-n to create one, or create a lease with 'jmp create \
             lease'."
                .to_owned(),
        )),
        [one] => chosen(one),
        many if std::io::stdin().is_terminal() => {
            output::complain("Multiple active leases found:\n");
            for (index, lease) in many.iter().enumerate() {
                output::complain(&format!("  {}) {}", index + 1, described(lease)));
            }
            let number = prompt::number(&format!("\nSelect a lease [1-{}]", many.len()), many.len())?;
            chosen(&many[number - 1])
        }
        many => {
            let all = many.iter().map(described).collect::<Vec<_>>().join("\n  ");
            Err(Failure::Usage(format!(
                "multiple active leases found:\n  {all}\nUse --lease to specify one, or run interactively to select."
            )))
        }
    }
}

fn describe(lease: &Lease) -> String {
    let zone = Present::here().zone;
    let expires = lease.expires_at().map(|end| end.to_zoned(zone).strftime("expires %Y-%m-%d %H:%M").to_string());
    let exporter = lease.exporter.as_ref().map(|exporter| format!("exporter={exporter}"));
    let selector = Some(&lease.selector).filter(|text| !text.is_empty()).map(|text| format!("selector={text}"));
    [exporter, selector, expires].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
