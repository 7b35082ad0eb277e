//! Bounds on what a guest may build.

/// Limits of one graph under construction. The defaults are those of the plugin contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphLimits {
    /// Most nodes, those of regions counted as often as these are used; 100,000.
    pub nodes_max: usize,
    /// Most inputs and outputs of all nodes together; 1,000,000.
    pub operands_max: usize,
    /// Most inputs, offsets included; 64.
    pub inputs_max: usize,
    /// Most outputs; 64.
    pub outputs_max: usize,
    /// Most states; 256.
    pub states_max: usize,
    /// Most regions, closed and open; 1,024.
    pub regions_max: usize,
    /// Most regions that are open at once, each inside the one before; 8.
    pub region_depth_max: usize,
    /// Longest name in bytes; 128.
    pub name_len_max: usize,
    /// Largest constant in bytes; 1 MiB.
    pub constant_bytes_max: u64,
    /// Most bytes of all constants together; 256 MiB.
    pub constants_bytes_max: u64,
    /// Most bytes of all weights together; 64 GiB.
    pub weights_bytes_max: u64,
    /// Most bytes of all states together; 1 GiB.
    pub states_bytes_max: u64,
    /// Most elements of a value in its fixed dimensions, extents of 0 counted as 1; 2^34.
    pub elements_max: u64,
}

impl Default for GraphLimits {
    fn default() -> GraphLimits {
        GraphLimits {
            nodes_max: 100_000,
            operands_max: 1_000_000,
            inputs_max: 64,
            outputs_max: 64,
            states_max: 256,
            regions_max: 1024,
            region_depth_max: 8,
            name_len_max: 128,
            constant_bytes_max: 1 << 20,
            constants_bytes_max: 256 << 20,
            weights_bytes_max: 64 << 30,
            states_bytes_max: 1 << 30,
            elements_max: 1 << 34,
        }
    }
}
