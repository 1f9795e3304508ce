package awstest

// ec2Actions are the actions of EC2 that are known here.
func ec2Actions() map[string]action {
	groups, interfaces, lists, networks := []Kind{KindGroups}, []Kind{KindInterfaces}, []Kind{KindPrefixLists}, []Kind{KindNetworks}
	tagged := []Kind{KindGroups, KindInterfaces, KindInstances, KindPrefixLists, KindNetworks}
	return map[string]action{
		"DescribeRegions":                {run: describeRegions},
		"DescribeVpcs":                   {kinds: networks, run: describeVpcs},
		"DescribeSubnets":                {kinds: networks, run: describeSubnets},
		"DescribeVpcPeeringConnections":  {kinds: networks, run: describePeerings},
		"DescribeInstances":              {kinds: []Kind{KindInstances, KindInterfaces}, run: describeInstances},
		"DescribeNetworkInterfaces":      {kinds: interfaces, run: describeNetworkInterfaces},
		"DescribeSecurityGroups":         {kinds: groups, run: describeSecurityGroups},
		"DescribeSecurityGroupRules":     {kinds: groups, run: describeSecurityGroupRules},
		"DescribeManagedPrefixLists":     {kinds: lists, run: describePrefixLists},
		"GetManagedPrefixListEntries":    {kinds: lists, run: getPrefixListEntries},
		"DescribeImages":                 {run: describeImages},
		"DescribeLaunchTemplates":        {run: describeLaunchTemplates},
		"DescribeLaunchTemplateVersions": {run: describeLaunchTemplateVersions},

		"CreateSecurityGroup":             {mutates: true, kinds: groups, run: createSecurityGroup},
		"DeleteSecurityGroup":             {mutates: true, kinds: groups, run: deleteSecurityGroup},
		"AuthorizeSecurityGroupIngress":   {mutates: true, kinds: groups, run: authorizeRules(false)},
		"AuthorizeSecurityGroupEgress":    {mutates: true, kinds: groups, run: authorizeRules(true)},
		"RevokeSecurityGroupIngress":      {mutates: true, kinds: groups, run: revokeRules(false)},
		"RevokeSecurityGroupEgress":       {mutates: true, kinds: groups, run: revokeRules(true)},
		"ModifySecurityGroupRules":        {mutates: true, kinds: groups, run: modifySecurityGroupRules},
		"ModifyNetworkInterfaceAttribute": {mutates: true, kinds: interfaces, run: modifyNetworkInterface},
		"ModifyInstanceAttribute":         {mutates: true, kinds: interfaces, run: modifyInstance},
		"CreateManagedPrefixList":         {mutates: true, kinds: lists, run: createPrefixList},
		"ModifyManagedPrefixList":         {mutates: true, kinds: lists, run: modifyPrefixList},
		"DeleteManagedPrefixList":         {mutates: true, kinds: lists, run: deletePrefixList},
		"CreateTags":                      {mutates: true, kinds: tagged, run: createTags},
		"DeleteTags":                      {mutates: true, kinds: tagged, run: deleteTags},
	}
}
