//! Reading and replacing PEM files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::TlsError;

/// A bundle of system roots has about 200 KiB; no file of ours is larger than this.
const MAX_FILE: u64 = 1024 * 1024;

/// The file's content.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    read_if_exists(path)?
        .ok_or_else(|| TlsError::Read { path: path.to_owned(), source: io::ErrorKind::NotFound.into() })
}

/// The file's content; `None` when there is no such file.
pub(super) fn read_if_exists(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut content = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_FILE {
        let reason = format!("it is larger than {MAX_FILE} bytes");
        return Err(TlsError::Content { path: path.to_owned(), reason });
    }
    Ok(Some(content))
}

/// Writes the file whole, replacing what was there.
pub(super) fn replace(path: &Path, content: &str, mode: u32) -> Result<(), TlsError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = Path::new(&temporary);
    let written = (|| {
        match fs::remove_file(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(temporary, path)?;
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    })();
    written.map_err(|source| {
        let _ = fs::remove_file(temporary);
        TlsError::Write { path: path.to_owned(), source }
    })
}
