import LanfsProtocol

extension Volume {
    /// With too few servers to write, reading must not wait for it.
    private static let patience = Duration.seconds(10)

    /// Makes R, the copies of each block, this from now on: an ordinary commit says so, the servers make or drop copies.
    func keepCopies(_ count: Int) async {
        let before = current { $0.chain.record.newestConfig }
        let count = UInt8(clamping: count)
        guard before.replicas != count else { return }
        let isDone = await patiently(upTo: Self.patience, on: nil) { () async -> Bool in
            do throws(VolumeError) {
                try await self.changeServers { $0.replicas = count }
                return true
            } catch {
                self.log.warning("\(error)")
                return false
            }
        }
        guard isDone == true else {
            return log.warning("there are still \(Self.copies(before.replicas)) of each block: the volume could not be changed")
        }
        log.notice("from now on there are \(Self.copies(count)) of each block; before, \(Self.copies(before.replicas))")
        let possible = current { $0.chain.record.newestConfig.requiredCopies }
        if possible < count { log.warning("the volume has servers for \(Self.copies(UInt8(possible))) only") }
    }

    private static func copies(_ count: UInt8) -> String { count == 1 ? "one copy" : "\(count) copies" }
}
