import Testing
@testable import LanfsMount
@Test func placeholder() { #expect(1 + 1 == 2) }
