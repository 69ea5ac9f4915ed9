/// Bytes for people: `0 B`, `117 MiB`, `1.5 GiB`; below a tenth nothing matters in a log.
func humanSize(_ bytes: UInt64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var power = 0
    while power < units.count - 1, bytes >> (10 * UInt64(power + 1)) > 0 { power += 1 }
    if power == 0 { return "\(bytes) B" }
    let tenths = UInt64((Double(bytes) / Double(UInt64(1) << (10 * UInt64(power))) * 10).rounded(.down))
    return "\(tenths / 10)\(tenths % 10 == 0 || tenths >= 1000 ? "" : ".\(tenths % 10)") \(units[power])"
}
