//! `wharf exec` and `wharf attach`: a further process in a running container, or the container's own streams.
//! `main` calls them; the shim makes the process, `session` follows it.
//! It must never give a container the user's own terminal.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use wharf_protocol::{Report, Request, event, file};

use crate::accounts;
use crate::bundle;
use crate::container::{self, Folder};
use crate::error::{Error, Result};
use crate::home::Home;
use crate::session::{self, Ended, Pipes, Viewing};
use crate::shim::Control;
use crate::{cli, signals, wish};

/// `wharf attach`.
pub(crate) fn attach(home: &Home, asked: &cli::Attach) -> Result<ExitCode> {
    let signals = signals::catch()?;
    let (about, folder) = container::find(home, &asked.container)?;
    let control = Control::call_running(&folder, &asked.container)?;
    let process = &about.wish.process;
    let feeds = process.interactive && !asked.no_stdin;
    let viewing = Viewing::attach(control, feeds, process.terminal)?;
    Ok(match viewing.follow(&signals)? {
        Ended::Exited(code) => session::exit_code(code),
        Ended::Detached => ExitCode::SUCCESS,
    })
}

/// `wharf exec`; the exit status is the command's.
pub(crate) fn exec(home: &Home, asked: &cli::Exec) -> Result<ExitCode> {
    let (about, folder) = container::find(home, &asked.container)?;
    let control = Control::call_running(&folder, &asked.container)?;
    let process = process(&folder, asked)?;
    event::tell(
        home.run(),
        about.id.as_str(),
        "exec_start",
        &asked.command.join(" "),
    );
    let null = File::open("/dev/null").map_err(Error::file("open", "/dev/null"))?;
    if asked.detach {
        let ends = [null.as_fd(), null.as_fd(), null.as_fd()];
        let sent = if asked.tty { &[][..] } else { &ends[..] };
        control.ask(&Request::Exec { process }, sent)?;
        return Ok(ExitCode::SUCCESS);
    }
    let signals = signals::catch()?;
    let mut pipes = Pipes {
        feed_terminal: asked.tty && asked.interactive,
        ..Pipes::default()
    };
    let made = match asked.tty {
        true => control.ask_exec(process, &[])?,
        false => with_own_streams(&control, process, asked.interactive, &null, &mut pipes)?,
    };
    let (pid, terminal) = made;
    let viewing = Viewing::of_process(control, handle(pid)?, terminal, pipes)?;
    Ok(match viewing.follow(&signals)? {
        Ended::Exited(code) => session::exit_code(code),
        Ended::Detached => ExitCode::SUCCESS,
    })
}

type Made = (i32, Option<OwnedFd>);

fn with_own_streams(
    control: &Control,
    process: Value,
    interactive: bool,
    null: &File,
    pipes: &mut Pipes,
) -> Result<Made> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let (mut theirs_in, mut theirs_out, mut theirs_err) = (None, None, None);
    let input = match interactive {
        true => Pipes::end(stdin.as_fd(), &mut pipes.input, &mut theirs_in, true)?,
        false => null.as_fd(),
    };
    let out = Pipes::end(stdout.as_fd(), &mut pipes.out, &mut theirs_out, false)?;
    let err = Pipes::end(stderr.as_fd(), &mut pipes.err, &mut theirs_err, false)?;
    control.ask_exec(process, &[input, out, err])
}

impl Control {
    /// Asks for a further process; its id on the host, and its terminal if it has one.
    fn ask_exec(&self, process: Value, ends: &[std::os::fd::BorrowedFd<'_>]) -> Result<Made> {
        self.tell(&Request::Exec { process }, ends)?;
        match self.hear()? {
            (Report::Created { pid }, descriptors) => Ok((pid, descriptors.into_iter().next())),
            _ => Err(self.gone()),
        }
    }
}

/// The process, for signals. If it has ended already there is nobody to signal: then this process stands for it.
fn handle(pid: i32) -> Result<OwnedFd> {
    let of = |pid| pidfd_open(pid, PidfdFlags::empty());
    Pid::from_raw(pid)
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(of)
        .or_else(|_| of(rustix::process::getpid()))
        .map_err(|errno| Error::file("watch process", pid.to_string())(errno.into()))
}

/// The container's own process with other arguments, and what else is asked for.
fn process(folder: &Folder, asked: &cli::Exec) -> Result<Value> {
    let path = folder.path().join(file::BUNDLE);
    let text = fs::read(&path).map_err(Error::file("read", &path))?;
    let bundle: Value = serde_json::from_slice(&text).map_err(|source| Error::Malformed {
        path: path.clone(),
        source,
    })?;
    let mut process = bundle["process"].clone();
    process["args"] = json!(asked.command);
    process["terminal"] = asked.tty.into();
    if asked.tty
        && let Some(size) = session::terminal_size()
    {
        process["consoleSize"] = json!({"height": size.ws_row, "width": size.ws_col});
    }
    if let Some(workdir) = &asked.workdir {
        process["cwd"] = json!(workdir);
    }
    if let Some(user) = &asked.user {
        let rootfs = bundle["root"]["path"].as_str().unwrap_or_default();
        let account = accounts::find(Path::new(rootfs), Some(user))?;
        process["user"] = bundle::user(&account);
    }
    let own = process["env"].as_array().cloned().unwrap_or_default();
    let own = own.iter().filter_map(Value::as_str).map(str::to_owned);
    let mut env: Vec<String> = own.collect();
    if asked.tty {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(asked.env.iter().filter_map(|given| wish::variable(given)));
    process["env"] = json!(wish::without_repetition(env));
    Ok(process)
}
