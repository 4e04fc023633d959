//! From a command to a process, and why that fails.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::Pid;
use tokio::process::{ChildStderr, ChildStdout, Command};

use crate::command::{CommandSpec, PORT_PLACEHOLDER};
use crate::mark::MARK_VARIABLE;
use crate::process::Process;
use crate::start_error::StartError;

/// How much of a script is read to find its interpreter: as much as the kernel does.
const SCRIPT_BYTES: u64 = 256;

/// A process that has just been started, and its output.
pub(crate) struct Spawned {
    pub(crate) process: Process,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

impl CommandSpec {
    /// Whether the program and the directory are there, and the program may be executed.
    ///
    /// A start says the same. This is for those who want to know before the first request does.
    ///
    /// # Errors
    ///
    /// What is missing.
    pub fn check(&self) -> Result<(), StartError> {
        self.fault().map_or(Ok(()), Err)
    }

    fn fault(&self) -> Option<StartError> {
        if let Some(path) = &self.directory
            && let Some(problem) = fault_of_directory(path)
        {
            let path = path.clone();
            return Some(StartError::Directory { path, problem });
        }
        match self.find_program() {
            Err(error) => Some(error),
            Ok(path) => fault_of_program(&path),
        }
    }

    /// The path of the program. One with a `/` begins in the directory of the command, as a shell would do it.
    fn path(&self) -> PathBuf {
        let path = PathBuf::from(&self.program);
        match &self.directory {
            Some(directory) if self.program.contains('/') => directory.join(path),
            _ => path,
        }
    }

    fn find_program(&self) -> Result<PathBuf, StartError> {
        let program = self.program.clone();
        if self.program.contains('/') {
            let path = self.path();
            if path.exists() {
                return Ok(path);
            }
            let searched = format!("(there is no file `{}`)", path.display());
            return Err(StartError::NotFound { program, searched });
        }
        // What the child will see: its own PATH if it was given one, else ours.
        let own = self
            .environment
            .iter()
            .rev()
            .find(|(name, _)| name == "PATH");
        let folders = match own {
            Some((_, value)) => Some(value.into()),
            None => std::env::var_os("PATH"),
        };
        let folders = folders.unwrap_or_default();
        let candidates = std::env::split_paths(&folders).map(|folder| folder.join(&program));
        let files: Vec<PathBuf> = candidates.filter(|path| path.is_file()).collect();
        let executable = files
            .iter()
            .find(|path| access(*path, Access::EXEC_OK).is_ok());
        executable
            .or_else(|| files.first())
            .cloned()
            .ok_or_else(|| {
                // Not what PATH is: clients read this too.
                let searched = "(it is in no folder of PATH)".to_owned();
                StartError::NotFound { program, searched }
            })
    }
}

/// Starts the command with this port. `mark` goes into its environment. Must be called within a runtime.
///
/// Returns when the program has been executed, or could not be: about a millisecond later. The process shares no
/// file descriptor with this one but the pipes of its output.
pub(crate) fn spawn(spec: &CommandSpec, port: u16, mark: &str) -> Result<Spawned, StartError> {
    let port_text = port.to_string();
    let filled = |text: &String| text.replace(PORT_PLACEHOLDER, &port_text);
    let mut command = Command::new(spec.path());
    if !spec.inherit_environment {
        command.env_clear();
    }
    command
        .args(spec.arguments.iter().map(filled))
        .env("PORT", &port_text)
        .envs(
            spec.environment
                .iter()
                .map(|(name, value)| (name, filled(value))),
        )
        .env(MARK_VARIABLE, mark)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        // If it cannot be watched it must not be there.
        .kill_on_drop(true);
    if let Some(directory) = &spec.directory {
        command.current_dir(directory);
    }
    let mut child = command.spawn().map_err(|error| explain(error, spec))?;
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let (Some(pid), Some(stdout), Some(stderr)) = (pid, child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("the process has no number or no pipes").into());
    };
    let process = Process::new(child, pid);
    Ok(Spawned {
        process,
        stdout,
        stderr,
    })
}

/// Says what an error means: the same number stands for many causes.
fn explain(error: io::Error, spec: &CommandSpec) -> StartError {
    let what = match Errno::from_io_error(&error) {
        Some(Errno::AGAIN) => "the process table is full, or the limit of processes is reached",
        Some(Errno::NOMEM) => "there is not enough memory",
        Some(Errno::MFILE | Errno::NFILE) => "the limit of open files is reached",
        Some(Errno::NOSPC) => "the disk is full",
        Some(Errno::NOENT | Errno::ACCESS | Errno::NOTDIR | Errno::NOEXEC | Errno::ISDIR) => {
            return spec.fault().unwrap_or(StartError::Other(error));
        }
        _ => return StartError::Other(error),
    };
    StartError::Exhausted { what, error }
}

fn fault_of_directory(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(found) if !found.is_dir() => Some("is no directory".to_owned()),
        Ok(_) => {
            let entered = access(path, Access::EXEC_OK);
            entered
                .err()
                .map(|error| format!("may not be entered ({error})"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some("is not there".to_owned()),
        Err(error) => Some(format!("cannot be looked at ({error})")),
    }
}

fn fault_of_program(path: &Path) -> Option<StartError> {
    let not_executable = |problem| {
        let path = path.to_owned();
        Some(StartError::NotExecutable { path, problem })
    };
    if path.is_dir() {
        return not_executable("it is a directory");
    }
    if access(path, Access::EXEC_OK).is_err() {
        return not_executable("permission denied; `chmod +x` allows it");
    }
    let mut head = Vec::new();
    // A program that may be executed and not read is looked at by the kernel alone.
    let file = File::open(path).ok()?;
    file.take(SCRIPT_BYTES).read_to_end(&mut head).ok()?;
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let interpreter = line.split_whitespace().next()?.to_owned();
        let missing = !Path::new(&interpreter).exists();
        let path = path.to_owned();
        return missing.then_some(StartError::InterpreterMissing { path, interpreter });
    }
    if !head.starts_with(b"\x7fELF") {
        return not_executable("it is neither a program nor a script with `#!` in its first line");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_is_said() {
        let spec = CommandSpec::new("true", [""; 0]);
        for (number, text) in [
            (
                Errno::AGAIN,
                "no process can be started: the process table is full, or the limit of processes is reached (",
            ),
            (
                Errno::NOMEM,
                "no process can be started: there is not enough memory (",
            ),
            (
                Errno::MFILE,
                "no process can be started: the limit of open files is reached (",
            ),
            (
                Errno::NFILE,
                "no process can be started: the limit of open files is reached (",
            ),
            (
                Errno::NOSPC,
                "no process can be started: the disk is full (",
            ),
            (Errno::TOOBIG, "cannot be started: Argument list too long ("),
            // The program was there when it was looked for, and not when it was started.
            (
                Errno::NOENT,
                "cannot be started: No such file or directory (",
            ),
        ] {
            let error = explain(number.into(), &spec);
            assert!(error.to_string().starts_with(text), "{error}");
            assert!(!error.is_fault_of_command());
        }
    }
}
