//! A domain's event channels as `lsevtchn` prints them.

use std::fmt::Write as _;

use hypervisor_abi::event::ChannelState;
use hypervisor_abi::event::Status;

/// One line for each port that is in use.
pub(super) fn list(ports: &[Status]) -> String {
    let mut text = String::new();
    for port in ports {
        // The domain of the other end takes the low half.
        let (remote, detail) = (port.detail & 0xffff, port.detail);
        let binding = match port.status {
            state if state == ChannelState::Closed as u32 => continue,
            state if state == ChannelState::Unbound as u32 => {
                format!("Interdomain (Waiting connection) - Remote Domain {remote}")
            }
            state if state == ChannelState::Interdomain as u32 => {
                format!("Interdomain (Connected) - Remote Domain {remote}, Port {}", port.remote_port)
            }
            state if state == ChannelState::Pirq as u32 => format!("Physical IRQ {detail}"),
            state if state == ChannelState::Virq as u32 => format!("Virtual IRQ {detail}"),
            state if state == ChannelState::Ipi as u32 => "IPI".to_owned(),
            _ => "Unknown".to_owned(),
        };
        writeln!(text, "{:4}: VCPU {}: {binding}", port.port, port.vcpu).expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use carillon_sim::import::Binding;
    use carillon_sim::import::Source;
    use carillon_sim::import::lsevtchn;
    use hypervisor_abi::event::Status;

    use super::list;

    #[test]
    fn every_kind_of_port_is_read_back_as_what_it_is() {
        let port = |port, status, detail, remote_port| Status {
            port,
            status,
            detail,
            remote_port,
            vcpu: 1,
            ..Status::default()
        };
        let ports = [
            port(1, 4, 16, 0),
            port(2, 0, 0, 0),
            port(3, 5, 0, 0),
            port(4, 3, 647, 0),
            port(5, 2, 7, 34),
            port(6, 1, 0x7ff0, 0),
            port(7, 99, 0, 0),
        ];
        let read = lsevtchn::parse(&Source::new("lsevtchn-0.txt", list(&ports))).expect("ports");
        let seen: Vec<(u32, Binding)> = read.iter().map(|port| (port.port, port.binding)).collect();
        assert_eq!(
            seen,
            [
                (1, Binding::Virq { virq: 16 }),
                (3, Binding::Ipi),
                (4, Binding::Pirq { pirq: 647, irq: 0 }),
                (5, Binding::Interdomain { remote: 7, port: 34 }),
                (6, Binding::Unbound { remote: 0x7ff0 }),
                (7, Binding::Reserved),
            ]
        );
        assert!(read.iter().all(|port| port.vcpu == 1));
    }
}
