import LanfsNetwork
import LanfsProtocol
import NIOCore

/// Which of one connection's requests must wait for which of its puts.
///
/// Puts run side by side and end in any order. A flush, and whatever else is about blocks as a whole, comes after every
/// put that was received before it: a client sends put, put, flush without waiting, and the answer to the flush vouches
/// for both (B2). Later puts do not hold it up.
struct PutOrder {
    struct Waiting {
        var request: Request
        var payload: ByteBuffer?
        var id: RequestID
        /// The first refusal of a put since the flush before, for a flush: it cannot vouch for that one.
        var refusal: Refusal?
    }

    /// The puts between two waiting requests, and the one that waits for them.
    private struct Group {
        var unfinished = 0
        var refusal: Refusal?
        var waiting: (request: Request, payload: ByteBuffer?, id: RequestID)?
    }

    /// Never empty: the last one takes the puts that come.
    private var groups: CircularBuffer<Group> = [Group()]
    private var firstNumber = 0
    /// Of puts that are done with, not told by a flush yet.
    private var refusal: Refusal?

    /// A put was received; what `finished` needs.
    mutating func began() -> Int {
        groups[groups.index(before: groups.endIndex)].unfinished += 1
        return firstNumber + groups.count - 1
    }

    /// A put is stored, or refused. Returns what waited for it and may go now, in order.
    mutating func finished(_ number: Int, _ refusal: Refusal?) -> [Waiting] {
        let index = groups.index(groups.startIndex, offsetBy: number - firstNumber)
        groups[index].unfinished -= 1
        if groups[index].refusal == nil { groups[index].refusal = refusal }
        return takeReady()
    }

    /// A request to be carried out after all puts received so far. Returns it if there is nothing to wait for.
    mutating func wait(_ request: Request, payload: ByteBuffer? = nil, id: RequestID) -> [Waiting] {
        groups[groups.index(before: groups.endIndex)].waiting = (request, payload, id)
        groups.append(Group())
        return takeReady()
    }

    private mutating func takeReady() -> [Waiting] {
        var ready: [Waiting] = []
        while let first = groups.first, first.unfinished == 0, let waiting = first.waiting {
            if refusal == nil { refusal = first.refusal }
            var next = Waiting(request: waiting.request, payload: waiting.payload, id: waiting.id)
            if waiting.request.flushes {
                next.refusal = refusal
                refusal = nil
            }
            ready.append(next)
            groups.removeFirst()
            firstNumber += 1
        }
        return ready
    }
}

extension Request {
    /// Vouches for puts.
    var flushes: Bool {
        switch self {
        case .flush, .commit: true
        default: false
        }
    }
}
