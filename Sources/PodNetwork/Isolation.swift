internal import Logging
internal import RuntimeModel

/// Groups of `isolation = "label"`. All of it on the writer's thread.
extension HostSide {
  /// Puts a sandbox's addresses into its group, before the pod can talk.
  func join(_ traffic: TrafficOptions, _ lease: AddressLease) throws(NetworkError) {
    guard plan.configuration.isolation == .label, let group = traffic.group else { return }
    let mine = addresses(lease).filter { rules.groups[$0] == nil }
    guard !mine.isEmpty else { return }
    try change(rules.joining(group, mine), changesRules: !rules.groups.values.contains(group))
    for address in mine { rules.groups[address] = group }
  }

  /// Never fails: what cannot be taken out piece by piece goes with the tables' replacement.
  func leave(_ lease: AddressLease) {
    let mine = addresses(lease)
    guard let group = mine.compactMap({ rules.groups[$0] }).first else { return }
    let text = rules.leaving(group, mine)
    for address in mine { rules.groups[address] = nil }
    do throws(NetworkError) {
      do throws(NetworkError) {
        try change(text, changesRules: !rules.groups.values.contains(group))
      } catch {
        _ = try replaceRules()
      }
    } catch {
      logger.error("a sandbox could not be taken out of its group", metadata: ["error": "\(error)"])
    }
  }

  /// The groups of an earlier daemon's sandboxes, for the tables that are written next.
  func adopt(_ traffic: [Identifier: TrafficOptions], _ live: [Identifier: AddressLease]) {
    guard plan.configuration.isolation == .label else { return }
    for (sandbox, lease) in live {
      guard let group = traffic[sandbox]?.group else { continue }
      for address in addresses(lease) { rules.groups[address] = group }
    }
  }
}
