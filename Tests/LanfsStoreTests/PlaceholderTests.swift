import Testing
@testable import LanfsStore
@Test func placeholder() { #expect(1 + 1 == 2) }
