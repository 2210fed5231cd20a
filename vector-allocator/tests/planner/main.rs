//! Inversions and plans: on the recorded hosts, against brute force on small ones, and in time on a large one.

mod brute_force;
mod hosts;
mod inversions;
mod large;
mod pins;
mod recorded;
