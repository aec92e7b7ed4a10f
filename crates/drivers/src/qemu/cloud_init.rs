//! What cloud-init in the guest finds on the disk labelled `CIDATA`.
use std::{fs, io, path::Path};

use serde_json::json;
use uuid::Uuid;

use super::config::Settings;

/// Writes the files into `dir`, which is made if need be.
pub(super) fn write(dir: &Path, instance: Uuid, settings: &Settings) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    // JSON is YAML, and quotes whatever the operator wrote.
    let meta = json!({ "instance-id": instance, "local-hostname": settings.hostname });
    let user = json!({
        "ssh_pwauth": true,
        "users": [{
            "name": settings.username,
            "plain_text_passwd": settings.password,
            "lock_passwd": false,
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
        }],
    });
    fs::write(dir.join("meta-data"), format!("{meta}\n"))?;
    fs::write(dir.join("user-data"), format!("#cloud-config\n{user}\n"))
}
