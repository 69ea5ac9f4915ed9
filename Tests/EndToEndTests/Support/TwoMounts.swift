import Testing

/// Two machines, as far as lanfs can tell, with one volume: the second has a home of its own and the first one's key.
func onTwoMounts(
    limit: Duration = .seconds(120), location: SourceLocation = #_sourceLocation, _ body: (Host, Host) throws -> Void
) throws {
    try onHost(limit: limit, location: location) { first in
        let second = try Host(limit: limit)
        defer { second.cleanUp() }
        second.discoveryPort = first.discoveryPort
        try second.takeKey(of: first)
        try second.startMount()
        do {
            try body(first, second)
        } catch {
            throw Failure("\(error)\n== the second mount\n\(second.mountLog.suffix(3000))")
        }
    }
}

extension Host {
    /// From now on it has the same volume.
    func takeKey(of other: Host) throws {
        let words = try other.lanfs("keygen", "--export")
        try writeFile(local("words"), Array(words.text.utf8))
        let taken = try lanfs("keygen", "--import", input: local("words"))
        guard words.status == 0, taken.status == 0 else { throw Failure("the key: \(words.errors) \(taken.errors)") }
    }
}
