//! Runs one plugin's binary: configuration in, one document out, both bounded.
//! Called by `delegate.rs` for address plugins and by `client` for the plugins of a list.
//! Must never search outside the given directories, and never leave the child running behind.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;
use wharfline_spec::cni::{CniError, code};

/// Largest answer that is taken from a plugin, in bytes.
const ANSWER_MAX: u64 = 16 << 20;

/// Finds the binary of `plugin_type`: the first regular file of that name in `path`.
///
/// # Errors
/// Code 7 when the type is no file name, 4 when no directory has it (or there is none).
pub(crate) fn find(plugin_type: &str, path: &[PathBuf]) -> Result<PathBuf, CniError> {
    if plugin_type.is_empty() || plugin_type.contains('/') || matches!(plugin_type, "." | "..") {
        let msg = format!("type: {plugin_type:?} is not the name of a plugin");
        return Err(CniError::invalid_config(msg));
    }
    let mut candidates = path.iter().map(|dir| dir.join(plugin_type));
    candidates.find(|file| file.is_file()).ok_or_else(|| {
        let places: Vec<String> = path.iter().map(|p| p.display().to_string()).collect();
        let msg = format!(
            "CNI_PATH: no plugin {plugin_type:?} in [{}]",
            places.join(", ")
        );
        CniError::new(code::INVALID_ENVIRONMENT, msg)
    })
}

/// One call of a plugin's binary.
pub(crate) struct Call<'a> {
    pub(crate) binary: &'a Path,
    /// `CNI_` variables, over the environment of this process.
    pub(crate) env: Vec<(&'static str, OsString)>,
    pub(crate) stdin: Vec<u8>,
    /// Prepares the child further, before it is started.
    pub(crate) prepare: fn(&mut Command),
}

impl Call<'_> {
    /// Runs the binary to its end. Its stderr is ours.
    ///
    /// The calling thread waits for the child: what ends the child with its parent (PDEATHSIG) goes
    /// by the thread that started it.
    ///
    /// # Errors
    /// The plugin's own error document, as it is; code 5 when the binary cannot be run, 6 when what it
    /// printed is no JSON document, 999 when it failed without a document.
    pub(crate) fn run(self) -> Result<Option<Value>, CniError> {
        let mut command = Command::new(self.binary);
        command
            .envs(self.env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // A terminal's Ctrl-C is for the runtime, which ends its plugins as it sees fit.
        command.process_group(0);
        (self.prepare)(&mut command);
        let child = command
            .spawn()
            .map_err(|e| io_failure("run", self.binary, &e))?;
        let (status, stdout) = talk(child, &self.stdin, self.binary)?;
        judge(self.binary, status, &stdout)
    }
}

/// Feeds the child and reads its answer at the same time, so that neither waits for the other.
fn talk(mut child: Child, stdin: &[u8], binary: &Path) -> Result<(ExitStatus, Vec<u8>), CniError> {
    let (to_child, from_child) = (child.stdin.take(), child.stdout.take());
    let mut answer = Vec::new();
    let read = std::thread::scope(|scope| {
        // A child that does not read its configuration says by its answer why.
        scope.spawn(move || to_child.map(|mut pipe| pipe.write_all(stdin)));
        let read = from_child.map_or(Ok(0), |pipe| {
            pipe.take(ANSWER_MAX + 1).read_to_end(&mut answer)
        });
        if !matches!(read, Ok(n) if n as u64 <= ANSWER_MAX) {
            // Also frees the thread that feeds it. It may have ended by itself.
            let _ = child.kill();
        }
        read
    });
    let status = child
        .wait()
        .map_err(|e| io_failure("wait for", binary, &e))?;
    match read {
        Ok(n) if n as u64 <= ANSWER_MAX => Ok((status, answer)),
        Ok(_) => {
            let msg = format!(
                "{}: its answer is longer than {ANSWER_MAX} bytes",
                binary.display()
            );
            Err(CniError::new(code::DECODING_FAILURE, msg))
        }
        Err(e) => Err(io_failure("read the answer of", binary, &e)),
    }
}

fn judge(binary: &Path, status: ExitStatus, stdout: &[u8]) -> Result<Option<Value>, CniError> {
    let is_blank = stdout.iter().all(u8::is_ascii_whitespace);
    let document = if is_blank {
        None
    } else {
        Some(serde_json::from_slice::<Value>(stdout))
    };
    match (status.success(), document) {
        (true, None) => Ok(None),
        (true, Some(Ok(document))) => Ok(Some(document)),
        (true, Some(Err(e))) => {
            let msg = format!("read the answer of {}: {e}", binary.display());
            Err(CniError::new(code::DECODING_FAILURE, msg).with_details(beginning(stdout)))
        }
        (false, document) => {
            let error = document
                .and_then(Result::ok)
                .and_then(|d| CniError::from_json(&d));
            Err(error.unwrap_or_else(|| {
                let msg = format!(
                    "{}: failed without an error document ({status})",
                    binary.display()
                );
                CniError::new(code::INTERNAL, msg).with_details(beginning(stdout))
            }))
        }
    }
}

/// The first part of what a plugin printed, for a person to recognise it.
fn beginning(stdout: &[u8]) -> String {
    let text = String::from_utf8_lossy(&stdout[..stdout.len().min(400)]);
    text.trim().to_owned()
}

fn io_failure(tried: &str, binary: &Path, error: &io::Error) -> CniError {
    CniError::new(
        code::IO_FAILURE,
        format!("{tried} {}: {error}", binary.display()),
    )
}
