//! The layouts' sizes and offsets, proved when the crate is compiled (`public/xen.h`, `public/event_channel.h`).

use core::mem::offset_of;

use crate::domctl::Domctl;
use crate::domctl::GetDomainInfo;
use crate::domctl::GetVcpuInfo;
use crate::domctl::VcpuAffinity;
use crate::event::BindInterdomain;
use crate::event::ControlBlock;
use crate::event::EventArray;
use crate::event::InitControl;
use crate::event::Status;
use crate::page::PAGE_SIZE;
use crate::shared_info::SharedInfo32;
use crate::shared_info::SharedInfo64;
use crate::sysctl::CpuTopo;
use crate::sysctl::CpuTopoInfo;
use crate::sysctl::DebugKeys;
use crate::sysctl::GetDomainInfoList;
use crate::sysctl::PhysInfo;
use crate::sysctl::ReadConsole;
use crate::sysctl::Sysctl;
use crate::sysctl::TbufOp;
use crate::trace::TraceBuffer;
use crate::vcpu_info::VcpuInfo32;
use crate::vcpu_info::VcpuInfo64;
use crate::vcpu_info::VcpuTimeInfo;
use crate::version::CompileInfo;
use crate::xenstore::MessageHeader;

const _: () = {
    assert!(size_of::<VcpuTimeInfo>() == 32);
    assert!(offset_of!(VcpuTimeInfo, tsc_timestamp) == 8);
    assert!(offset_of!(VcpuTimeInfo, system_time) == 16);
    assert!(offset_of!(VcpuTimeInfo, tsc_to_system_mul) == 24);
    assert!(offset_of!(VcpuTimeInfo, tsc_shift) == 28);
    assert!(offset_of!(VcpuTimeInfo, flags) == 29);
};

const _: () = {
    assert!(size_of::<VcpuInfo64>() == 64);
    assert!(offset_of!(VcpuInfo64, evtchn_upcall_pending) == 0);
    assert!(offset_of!(VcpuInfo64, evtchn_upcall_mask) == 1);
    assert!(offset_of!(VcpuInfo64, evtchn_pending_sel) == 8);
    assert!(offset_of!(VcpuInfo64, arch) == 0x10);
    assert!(offset_of!(VcpuInfo64, time) == 0x20);
};

const _: () = {
    assert!(size_of::<VcpuInfo32>() == 64);
    assert!(offset_of!(VcpuInfo32, evtchn_upcall_pending) == 0);
    assert!(offset_of!(VcpuInfo32, evtchn_upcall_mask) == 1);
    assert!(offset_of!(VcpuInfo32, evtchn_pending_sel) == 4);
    assert!(offset_of!(VcpuInfo32, arch) == 8);
    assert!(offset_of!(VcpuInfo32, time) == 0x20);
};

const _: () = {
    assert!(size_of::<SharedInfo64>() == 3136);
    assert!(offset_of!(SharedInfo64, evtchn_pending) == 0x800);
    assert!(offset_of!(SharedInfo64, evtchn_mask) == 0xa00);
    assert!(offset_of!(SharedInfo64, wc_version) == 0xc00);
    assert!(offset_of!(SharedInfo64, wc_sec_hi) == 0xc0c);
    assert!(offset_of!(SharedInfo64, arch) == 0xc10);
};

const _: () = {
    assert!(size_of::<SharedInfo32>() == 2344);
    assert!(offset_of!(SharedInfo32, evtchn_pending) == 0x800);
    assert!(offset_of!(SharedInfo32, evtchn_mask) == 0x880);
    assert!(offset_of!(SharedInfo32, wc_version) == 0x900);
    assert!(offset_of!(SharedInfo32, arch) == 0x90c);
    assert!(offset_of!(SharedInfo32, wc_sec_hi) == 0x924);
};

const _: () = {
    assert!(size_of::<EventArray>() == PAGE_SIZE);
    assert!(size_of::<ControlBlock>() == 72);
    assert!(offset_of!(ControlBlock, ready) == 0);
    assert!(offset_of!(ControlBlock, head) == 8);
    assert!(size_of::<Status>() == 24);
    assert!(size_of::<InitControl>() == 24);
    assert!(size_of::<BindInterdomain>() == 12);
};

const _: () = {
    assert!(size_of::<Sysctl>() == 136);
    assert!(offset_of!(Sysctl, argument) == 8);
    assert!(size_of::<ReadConsole>() == 24);
    assert!(offset_of!(ReadConsole, buffer) == 8);
    assert!(size_of::<DebugKeys>() == 16);
    assert!(size_of::<GetDomainInfoList>() == 24);
    assert!(size_of::<PhysInfo>() == 32);
    assert!(size_of::<CpuTopoInfo>() == 16);
    assert!(size_of::<CpuTopo>() == 12);
    assert!(size_of::<TbufOp>() == 48);
    assert!(offset_of!(TbufOp, buffer_mfn) == 32);
    assert!(size_of::<TraceBuffer>() == 8);
    assert!(size_of::<CompileInfo>() == 144);
    assert!(size_of::<MessageHeader>() == 16);
};

const _: () = {
    assert!(size_of::<Domctl>() == 144);
    assert!(offset_of!(Domctl, argument) == 16);
    assert!(offset_of!(GetDomainInfo, cpu_time) == 56);
    assert!(offset_of!(GetDomainInfo, max_vcpu_id) == 68);
    assert!(size_of::<GetVcpuInfo>() == 24);
    assert!(size_of::<VcpuAffinity>() == 40);
};
