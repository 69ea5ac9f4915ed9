import Glibc

/// The name this host gives itself, without its domain.
public func hostName() -> String {
    let size = 256
    let name = withUnsafeTemporaryAllocation(of: CChar.self, capacity: size) { buffer -> String in
        guard let base = buffer.baseAddress, gethostname(base, size) == 0 else { return "" }
        base[size - 1] = 0  // a name that was cut need not end with one
        return String(cString: base)
    }
    let short = name.prefix { $0 != "." }
    return short.isEmpty ? "lanfs" : String(short)
}
