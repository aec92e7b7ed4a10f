//! Exporters, and who holds them.
use jumpstarter_client::{Exporter, Lease, Quarantine};
use serde_json::{Map, Value, json};

use super::{Present, View, leases, object, pairs};

/// Which columns and fields are wanted beside name and labels.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
pub(crate) struct Columns {
    /// Whether the service hears from it.
    pub(crate) online: bool,
    /// What it is doing.
    pub(crate) status: bool,
    /// Who holds it until when.
    pub(crate) leases: bool,
    /// Whether it may be leased; those that may not are listed as well.
    pub(crate) enabled: bool,
    /// What it says about its status.
    pub(crate) message: bool,
}

/// An exporter, and the lease that holds it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The exporter.
    pub(crate) exporter: Exporter,
    /// Who has it.
    pub(crate) lease: Option<Lease>,
}

/// Finds for each exporter the lease that is in use.
pub(crate) fn join(exporters: Vec<Exporter>, leases: &[Lease]) -> Vec<Held> {
    let holds = |lease: &&Lease, exporter: &Exporter| {
        lease.exporter.as_deref() == Some(&exporter.name)
            && lease.effective_end_time.is_none()
            && lease.effective_begin_time.is_some()
            && lease.conditions.last().is_some_and(|last| last.kind == "Ready" && last.status == "True")
    };
    let with_lease = |exporter: Exporter| {
        let lease = leases.iter().find(|lease| holds(lease, &exporter)).cloned();
        Held { exporter, lease }
    };
    exporters.into_iter().map(with_lease).collect()
}

/// A list.
pub(crate) fn list(exporters: &[Held], columns: Columns, present: &Present) -> View {
    let mut headings = vec!["NAME"];
    for (wanted, heading) in [(columns.enabled, "ENABLED"), (columns.online, "ONLINE"), (columns.status, "STATUS")] {
        if wanted {
            headings.push(heading);
        }
    }
    headings.push("LABELS");
    if columns.leases {
        headings.extend(["LEASED BY", "LEASE STATUS", "RELEASE TIME"]);
    }
    if columns.message {
        headings.push("MESSAGE");
    }
    let json = exporters.iter().map(|held| to_json(held, columns, present)).collect::<Vec<_>>();
    View {
        json: json!({ "exporters": json }),
        headings,
        rows: exporters.iter().map(|held| row(held, columns, present)).collect(),
        names: exporters.iter().map(|held| held.exporter.name.clone()).collect(),
    }
}

fn row(held: &Held, columns: Columns, present: &Present) -> Vec<String> {
    let Held { exporter, lease } = held;
    let yes_no = |value: bool| if value { "yes" } else { "no" }.to_owned();
    let mut cells = vec![exporter.name.clone()];
    if columns.enabled {
        cells.push(yes_no(exporter.enabled));
    }
    if columns.online {
        cells.push(yes_no(exporter.online));
    }
    if columns.status {
        cells.push(status(exporter));
    }
    cells.push(pairs(&exporter.labels));
    if columns.leases {
        match lease {
            Some(lease) => {
                let release = present.clock(lease.expires_at());
                cells.extend([lease.client.clone(), leases::status(lease), release]);
            }
            None => cells.extend([String::new(), "Available".to_owned(), String::new()]),
        }
    }
    if columns.message {
        cells.push(exporter.status_message.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    cells
}

/// The name of the status without its prefix, and whether the exporter is kept back.
fn status(exporter: &Exporter) -> String {
    let name = exporter.status.as_str_name();
    let name = match name.strip_prefix("EXPORTER_STATUS_").unwrap_or(name) {
        "UNSPECIFIED" => "UNKNOWN",
        name => name,
    };
    if exporter.quarantine.is_some() { format!("{name}, QUARANTINED") } else { name.to_owned() }
}

fn to_json(held: &Held, columns: Columns, present: &Present) -> Value {
    let Held { exporter, lease } = held;
    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put("namespace", json!(exporter.namespace));
    put("name", json!(exporter.name));
    put("labels", object(&exporter.labels));
    if columns.online {
        put("online", json!(exporter.online));
    }
    if columns.status {
        let number = i32::from(exporter.status);
        put("status", if number == 0 { Value::Null } else { json!(number) });
    }
    if columns.enabled {
        put("enabled", json!(exporter.enabled));
    }
    if columns.leases {
        put("lease", lease.as_ref().map_or(Value::Null, |lease| leases::to_json(lease, present)));
    }
    put("deprecated_labels", object(&exporter.deprecated_labels));
    if columns.message {
        put("status_message", json!(exporter.status_message));
    }
    if let Some(Quarantine { reason, message, until }) = &exporter.quarantine {
        put("quarantine", json!({ "reason": reason, "message": message, "until": present.iso(*until) }));
    }
    Value::Object(fields)
}
