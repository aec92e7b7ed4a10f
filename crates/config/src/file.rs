//! Reading YAML and replacing files without a torn state in between.
use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::ConfigError;

/// Reads the YAML mapping in `path`.
pub(crate) fn read(path: &Path) -> Result<Map<String, Value>, ConfigError> {
    parse(&text(path)?, &origin(path))
}

/// Reads the text in `path`.
pub(crate) fn text(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })
}

/// How a file is named in messages.
pub(crate) fn origin(path: &Path) -> String {
    format!("file '{}'", path.display())
}

/// Parses one YAML mapping.
pub(crate) fn parse(text: &str, origin: &str) -> Result<Map<String, Value>, ConfigError> {
    let options = serde_saphyr::options! { with_snippet: false };
    let invalid = |message: String| ConfigError::Invalid { origin: origin.to_owned(), message };
    match serde_saphyr::from_str_with_options::<Value>(text, options).map_err(|err| invalid(err.to_string()))? {
        Value::Object(map) => Ok(map),
        Value::Null => Err(invalid("the file is empty".to_owned())),
        _ => Err(invalid("a mapping of keys to values is expected".to_owned())),
    }
}

/// Turns a mapping into a typed configuration; the message names the offending key.
pub(crate) fn typed<T: DeserializeOwned>(map: Map<String, Value>, origin: &str) -> Result<T, ConfigError> {
    serde_json::from_value(Value::Object(map))
        .map_err(|err| ConfigError::Invalid { origin: origin.to_owned(), message: err.to_string() })
}

/// The YAML text of `value`; strings that YAML 1.1 readers could take for something else are quoted.
pub(crate) fn to_yaml<T: Serialize>(value: &T) -> Result<String, String> {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false, yaml_12: false };
    serde_saphyr::to_string_with_options(value, options).map_err(|err| err.to_string())
}

/// Replaces `path` by `text`: a temporary file beside it (mode 0600), fsync, rename.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), ConfigError> {
    let write = || -> std::io::Result<()> {
        let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let mut file = tempfile::Builder::new()
            .prefix(".jumpstarter-")
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(dir)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|err| err.error)?;
        fs::File::open(dir)?.sync_all()
    };
    write().map_err(|source| ConfigError::Write { path: path.to_owned(), source })
}

/// Saves `value` as YAML.
pub(crate) fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), ConfigError> {
    let text = to_yaml(value).map_err(|message| ConfigError::Invalid { origin: origin(path), message })?;
    replace(path, &text)
}
