import LanfsProtocol

/// Opened frames in memory, bounded by what they take there; the clock algorithm decides what goes (one bit a frame, no list to
/// relink on every read).
///
/// A frame is kept for whoever will want it: one that was fetched ahead and not read yet, or read in part. One that was
/// read to its end has served a sequential reader, whose kernel keeps the pages: it goes first.
struct FrameCache {
    struct Name: Hashable {
        let block: BlockID
        let index: UInt32
    }

    private struct Slot {
        var name: Name
        var bytes: [UInt8]
        var used: Bool

        var footprint: Int { FrameCache.footprint(bytes) }
    }

    /// What a frame takes beside its bytes, about: its slot, its place by name (both tables double as they grow), and the
    /// header of its array. A frame may be the 100 bytes of a small file.
    static let overhead = 256
    static func footprint(_ bytes: [UInt8]) -> Int { bytes.count + overhead }

    /// In bytes.
    let limit: Int
    private var size = 0
    private var slots: [Slot] = []
    private var places: [Name: Int] = [:]
    private var hand = 0

    init(limit: Int) {
        self.limit = limit
    }

    /// `isLastUse`: the reader takes the frame up to its end.
    mutating func frame(_ name: Name, isLastUse: Bool = false) -> [UInt8]? {
        guard let place = places[name] else { return nil }
        slots[place].used = !isLastUse
        return slots[place].bytes
    }

    func contains(_ name: Name) -> Bool { places[name] != nil }

    /// `isWanted`: somebody asked for it; one that was just written goes before those.
    mutating func insert(_ bytes: [UInt8], as name: Name, isWanted: Bool = true) {
        let footprint = Self.footprint(bytes)
        guard footprint <= limit, places[name] == nil else { return }
        while size + footprint > limit { evictOne() }
        places[name] = slots.count
        slots.append(Slot(name: name, bytes: bytes, used: isWanted))
        size += footprint
    }

    private mutating func evictOne() {
        while true {
            if hand >= slots.count { hand = 0 }
            if slots[hand].used {
                slots[hand].used = false
                hand += 1
                continue
            }
            let victim = slots[hand]
            places[victim.name] = nil
            size -= victim.footprint
            // The last slot takes the victim's place, so that there is never a hole to skip.
            let last = slots.removeLast()
            if hand < slots.count {
                slots[hand] = last
                places[last.name] = hand
            }
            // The last slot is the newest: its turn comes when the hand has been everywhere else.
            hand += 1
            return
        }
    }
}

extension FrameRef {
    var name: FrameCache.Name { FrameCache.Name(block: block, index: index) }
}
