//! A machine: a child process whose console is read until it has said everything, has died, or is out of time.

use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::record::Record;
use crate::transcript::End;
use crate::transcript::Line;
use crate::transcript::Transcript;

/// What a machine says when it will say nothing sensible any more.
const CRASHES: [&str; 4] = ["Kernel panic", "Panic on CPU", "Dom0 crashed", "Reboot in five seconds"];

/// A machine that can be run once.
#[derive(Debug)]
pub struct Machine {
    /// The emulator and its arguments, the console on its standard output.
    pub command: Command,
    /// How long it may run.
    pub deadline: Duration,
    /// The kind of the record, of dom0 or of a machine without domains, after which it is switched off.
    pub last_record: &'static str,
    /// Where every line of the console goes, with its time in seconds.
    pub log: PathBuf,
}

/// A machine could not be run.
#[derive(Debug)]
pub enum MachineError {
    /// The emulator did not start.
    Start(io::Error),
    /// The log could not be written.
    Log(PathBuf, io::Error),
}

/// Ends the child it holds, and no other, whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine {
    /// Runs the machine to its end.
    ///
    /// # Errors
    /// [`MachineError`]; a machine that crashes or is late is no error but the transcript's [`End`].
    pub fn run(mut self) -> Result<Transcript, MachineError> {
        let log_error = |error| MachineError::Log(self.log.clone(), error);
        let mut log = File::create(&self.log).map_err(log_error)?;
        let begin = Instant::now();
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = Running(self.command.spawn().map_err(MachineError::Start)?);
        let console = child.0.stdout.take().expect("it was piped");
        let (sender, lines) = mpsc::channel();
        let reader = thread::spawn(move || {
            for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(Line { at: begin.elapsed(), text }).is_err() {
                    break;
                }
            }
        });

        let mut said = Vec::new();
        let end = loop {
            let line = match lines.recv_timeout(self.deadline.saturating_sub(begin.elapsed())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => break End::Late(self.deadline),
                Err(RecvTimeoutError::Disconnected) => break End::Silent,
            };
            writeln!(log, "{line}").map_err(log_error)?;
            let is_last = Record::parse(&line.text)
                .is_some_and(|record| record.domain().is_none() && record.kind() == self.last_record);
            let has_crashed = CRASHES.iter().any(|crash| line.text.contains(crash));
            said.push(line);
            if is_last {
                break End::Complete;
            }
            if has_crashed {
                break End::Crashed;
            }
        };
        drop(child);
        drop(lines);
        // It ends as the child's console is closed.
        let _ = reader.join();
        Ok(Transcript { lines: said, end, log: self.log })
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process;
    use std::process::Command;
    use std::time::Duration;

    use super::Machine;
    use crate::transcript::End;

    fn shell(script: &str, deadline: Duration, name: &str) -> Machine {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let log = env::temp_dir().join(format!("carillon-{name}-{}", process::id()));
        Machine { command, deadline, last_record: "end", log }
    }

    #[test]
    fn a_machine_is_switched_off_after_its_last_record() {
        let machine = shell("echo 'carillon: end'; exec sleep 1000", Duration::from_secs(100), "last");
        assert_eq!(machine.run().expect("a shell").end, End::Complete);
    }

    #[test]
    fn a_machine_that_is_late_is_switched_off() {
        let deadline = Duration::from_millis(100);
        let transcript = shell("echo here; exec sleep 1000", deadline, "late").run().expect("a shell");
        assert_eq!((transcript.end, transcript.lines.len()), (End::Late(deadline), 1));
    }

    #[test]
    fn a_machine_that_crashes_or_goes_out_has_not_said_everything() {
        let crashed = shell("echo '(XEN) Panic on CPU 0:'; exec sleep 1000", Duration::from_secs(100), "crash");
        assert_eq!(crashed.run().expect("a shell").end, End::Crashed);
        let silent = shell("echo '(d1) carillon: end'", Duration::from_secs(100), "silent");
        assert_eq!(silent.run().expect("a shell").end, End::Silent);
    }
}
