//! Inversions and plans: on the recorded hosts, against brute force on small ones, and in time on a large one.

mod hosts;
mod inversions;
